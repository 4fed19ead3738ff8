package todo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
)

// Headers that db adds to its answers and web passes on.
const (
	// HeaderNode names the node on which the database runs, as Marathon's HOST tells it.
	HeaderNode = "Todo-Node"
	// HeaderTotal and HeaderCompleted count the whole list beside a selection of it.
	HeaderTotal     = "Todo-Total"
	HeaderCompleted = "Todo-Completed"
)

// maxBody is in bytes, far more than the longest title takes even when every character is escaped.
const maxBody = 64 << 10

// problem is the body of every answer that is not a success.
type problem struct {
	Error string `json:"error"`
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return fmt.Errorf("%w: read body: %w", ErrInvalid, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// writeJSON sends an answer. A client that went away meanwhile is worth a line and nothing else.
func writeJSON(log *slog.Logger, w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		log.Error("answer", "err", err)
		http.Error(w, "cannot write the answer as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := w.Write(text); err != nil {
		log.Debug("answer", "err", err)
	}
}

// writeError sends err with the status that tells a client whether asking again can help: 503 says yes.
func writeError(log *slog.Logger, w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	var refused *Refusal
	switch {
	case errors.Is(err, ErrInvalid):
		status = http.StatusBadRequest
	case errors.Is(err, ErrNotFound):
		status = http.StatusNotFound
	case errors.As(err, &refused):
		status = refused.Status
	case isFull(err):
		status = http.StatusInsufficientStorage
	default:
		log.Warn("request", "err", err)
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(log, w, status, problem{Error: err.Error()})
}
