package marathond

import (
	"errors"
	"fmt"
	"net/http"
)

// apiError is an answer that is not a success.
type apiError struct {
	status int
	body   tree
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %v", e.status, e.body["message"]) }

func apiErr(status int, format string, args ...any) *apiError {
	return &apiError{status, tree{"message": fmt.Sprintf(format, args...)}}
}

func notFound(kind, id string) *apiError { return apiErr(404, "%s '%s' does not exist", kind, id) }

func invalidJSON(errs []fieldError) *apiError {
	return &apiError{422, tree{"message": "Invalid JSON", "details": errs}}
}

func invalidObject(errs []fieldError) *apiError {
	return &apiError{422, tree{"message": "Object is not valid", "details": errs}}
}

func lockedError(holders []*deployment) *apiError {
	ids := []any{}
	for _, d := range holders {
		ids = append(ids, tree{"id": d.ID})
	}
	return &apiError{409, tree{
		"message": "App is locked by one or more deployments. Override with the option '?force=true'. " +
			"View details at '/v2/deployments/<DEPLOYMENT_ID>'.",
		"deployments": ids,
	}}
}

// asAPIError maps any error to an answer.
func asAPIError(err error) *apiError {
	var e *apiError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, errCycle):
		return apiErr(422, "%s", errCycle.Error())
	}
	return apiErr(http.StatusInternalServerError, "%s", err.Error())
}
