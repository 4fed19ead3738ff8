package todo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Entry is one line of a ledger: a to-do whose storing was acknowledged.
type Entry struct {
	ID    string    `json:"id"`
	Title string    `json:"title"`
	At    time.Time `json:"at"` // when the acknowledgement came
}

// Ledger is a file of acknowledged to-dos, one JSON object per line. It outlives its writer's kill -9 but
// not a power cut: it stands for the client's memory, and clients stay up when a node goes down.
type Ledger struct{ f *os.File }

// OpenLedger opens the ledger at path, which it creates, or goes on at its end.
func OpenLedger(path string) (*Ledger, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &Ledger{f: f}, nil
}

// Add writes e with one write call, so that a ledger never holds half a line but at its very end.
func (l *Ledger) Add(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if _, err := l.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// Close closes the file.
func (l *Ledger) Close() error { return l.f.Close() }

// ReadLedger reads the whole ledger at path. Half a line at the end, from a writer that was killed, is left out.
func ReadLedger(path string) ([]Entry, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	var entries []Entry
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			return entries, nil
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		entries, text = append(entries, e), rest
	}
}
