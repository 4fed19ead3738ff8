package marathon

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// What an [Error] can be. Test with [errors.Is]; one error can be several of them.
var (
	// ErrNotFound: Marathon itself said that the app or deployment does not exist. A 404 from anything else, such as a
	// proxy or a wrong base path, is ErrUnavailable.
	ErrNotFound = errors.New("not found")
	// ErrLocked: running deployments, listed in Error.Deployments, hold the app. Wait for them or use force.
	ErrLocked = errors.New("locked by a deployment")
	// ErrConflict: the change contradicts what is there. Repeating it does not help.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: Marathon refused the request as malformed or against its rules; Error.Details says where.
	ErrInvalid = errors.New("invalid")
	// ErrUnauthorized: the credentials are missing, wrong or not enough.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrUnavailable: no address gave Marathon's (or Mesos's) answer. Trying again later can help.
	ErrUnavailable = errors.New("unavailable")
	// ErrAmbiguous: a mutation was sent and may have been carried out. Look at the app before doing anything again.
	ErrAmbiguous = errors.New("outcome unknown")
)

// Error is a call that did not succeed. Its text is one sentence that names the call, the address and the cause.
type Error struct {
	Method      string
	Path        string // without base path and query
	Address     string // the server asked last, without credentials
	Status      int    // of the answer; 0 if there was none
	Message     string // Marathon's own, "" if it gave none
	Details     []FieldError
	Deployments []string // ids of the deployments that hold a lock
	Body        string   // beginning of an answer that is not Marathon's JSON
	Err         error    // why there was no answer, or why it could not be read

	kinds []error
}

// FieldError says what is wrong with one field of a request. Path is as Marathon writes it, "/constraints(0)"; it is empty
// where Marathon gave only text.
type FieldError struct {
	Path   string
	Errors []string
}

// String returns the field and its mistakes.
func (f FieldError) String() string {
	text := strings.Join(f.Errors, ", ")
	if f.Path == "" {
		return text
	}
	return f.Path + ": " + text
}

// Unwrap gives errors.Is and errors.As the kinds of this error and its cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return e.kinds
	}
	return append([]error{e.Err}, e.kinds...)
}

// Error returns the sentence.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s %s at %s: %s", e.Method, e.Path, e.Address, e.cause())
	if e.is(ErrAmbiguous) {
		s += " (it may have been carried out all the same)"
	}
	return s
}

func (e *Error) cause() string {
	switch {
	case e.Status == 0:
		return fmt.Sprintf("no answer: %v", e.Err)
	case e.Err != nil && e.Body != "":
		return fmt.Sprintf("%s: %v: %q", e.status(), e.Err, e.Body)
	case e.Err != nil:
		return fmt.Sprintf("%s: %v", e.status(), e.Err)
	case len(e.Deployments) > 0:
		return "the app is locked by deployment " + strings.Join(e.Deployments, ", ")
	case e.Message != "":
		return e.status() + ": " + e.Message + e.details()
	case e.Body != "":
		return fmt.Sprintf("%s, not from the API: %q", e.status(), e.Body)
	default:
		return e.status() + " without an explanation"
	}
}

func (e *Error) status() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
}

func (e *Error) details() string {
	if len(e.Details) == 0 {
		return ""
	}
	texts := make([]string, len(e.Details))
	for i, d := range e.Details {
		texts[i] = d.String()
	}
	return ": " + strings.Join(texts, "; ")
}

func (e *Error) is(kind error) bool {
	for _, k := range e.kinds {
		if errors.Is(k, kind) {
			return true
		}
	}
	return false
}

// unanswered is the error of a call to which no whole answer came. Unless it is certain that a mutation was not sent, its
// outcome is unknown.
func unanswered(k call, address string, sent bool, err error) *Error {
	e := &Error{Method: k.method, Path: k.path, Address: address, Err: err, kinds: []error{ErrUnavailable}}
	if sent && k.mutates() {
		e.kinds = append(e.kinds, ErrAmbiguous)
	}
	return e
}

// broken is the error of an answer that claims success and is cut short or not what the call returns. A mutation with such an
// answer may have been carried out, or have met a proxy's login page.
func broken(k call, address string, a answer, err error) *Error {
	if bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<")) {
		err = errors.New("a web page instead of an answer")
	}
	e := unanswered(k, address, true, err)
	e.Status, e.Body = a.status, excerpt(a.body)
	return e
}

// refused is the error of an answer with a status that is not a success.
func refused(k call, address string, a answer) *Error {
	said := parseErrorBody(a.body)
	e := &Error{
		Method: k.method, Path: k.path, Address: address, Status: a.status,
		Message: said.message, Details: said.details, Deployments: said.deployments,
	}
	if !said.ours {
		e.Body = excerpt(a.body)
	}
	e.kinds = kinds(k, a.status, said)
	return e
}

func kinds(k call, status int, said errorBody) []error {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return []error{ErrInvalid}
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return []error{ErrUnauthorized}
	case http.StatusForbidden:
		return forbidden(said)
	case http.StatusNotFound:
		return missing(said)
	case http.StatusConflict:
		return conflict(said)
	case http.StatusTooManyRequests:
		return []error{ErrUnavailable}
	}
	if status < 500 {
		return nil
	}
	if k.mutates() && !said.notDone() {
		return []error{ErrUnavailable, ErrAmbiguous}
	}
	return []error{ErrUnavailable}
}

// forbidden tells a refusal for lack of rights from one for too many running deployments (403 as well, from 1.6.352 on),
// which passes.
func forbidden(said errorBody) []error {
	if strings.Contains(said.message, "running deployments") {
		return []error{ErrUnavailable}
	}
	return []error{ErrUnauthorized}
}

// missing tells "there is no such app" from "there is no Marathon here": the second must never pass for the first.
func missing(said errorBody) []error {
	if said.ours && !said.noRoute() {
		return []error{ErrNotFound}
	}
	return []error{ErrUnavailable}
}

func conflict(said errorBody) []error {
	if len(said.deployments) > 0 {
		return []error{ErrLocked}
	}
	return []error{ErrConflict}
}
