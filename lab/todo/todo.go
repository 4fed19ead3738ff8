package todo

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Todo is one entry of the list, in the form of the Todo-Backend API.
type Todo struct {
	ID        string `json:"id"`
	Title     string `json:"title"`
	Completed bool   `json:"completed"`
	// Order is where a client wants the entry to stand; entries with an order come first, smallest first.
	Order *int64 `json:"order,omitempty"`
	// URL is where the entry can be read and changed. Only web fills it in: db does not know how it is reached.
	URL string `json:"url,omitempty"`
}

// Change is what a PATCH may set; nil leaves a field as it is.
type Change struct {
	Title     *string `json:"title"`
	Completed *bool   `json:"completed"`
	Order     *int64  `json:"order"`
}

// Query selects to-dos of the list.
type Query struct {
	// Completed, unless nil, selects those that are completed, or those that are not.
	Completed *bool
	// Last, if positive, keeps only so many from the end of the list.
	Last int
}

// List is what a Query found, and how many there are altogether.
type List struct {
	Todos []Todo
	// Total and Completed count the whole list, whatever the query selected.
	Total, Completed int
}

// ErrInvalid wraps every complaint about what a client sent.
var ErrInvalid = errors.New("invalid to-do")

// ErrNotFound says that no to-do has the id.
var ErrNotFound = errors.New("no such to-do")

// maxTitle is in bytes; a page of text is enough for something to be done.
const maxTitle = 4096

// ids go into paths as they are, so they need no escaping.
var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// check refuses a to-do that cannot be stored.
func (t Todo) check() error {
	if !validID.MatchString(t.ID) || t.ID == "healthz" {
		return fmt.Errorf("%w: id %q: want 1 to 100 letters, digits, '.', '_' or '-', and not healthz", ErrInvalid, t.ID)
	}
	return checkTitle(t.Title)
}

func (c Change) check() error {
	if c.Title == nil {
		return nil
	}
	return checkTitle(*c.Title)
}

func checkTitle(title string) error {
	switch {
	case strings.TrimSpace(title) == "":
		return fmt.Errorf("%w: title is empty", ErrInvalid)
	case len(title) > maxTitle:
		return fmt.Errorf("%w: title has %d bytes, at most %d are kept", ErrInvalid, len(title), maxTitle)
	}
	return nil
}

// newID returns an id that nobody else has chosen.
func newID() string {
	var b [12]byte
	// Read never fails since Go 1.24: it ends the program instead.
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
