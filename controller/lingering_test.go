package controller

import (
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// Who kept a cutover from going on is remembered until the app has moved, whatever runs in the volume afterwards.
func TestWhoLingeredIsRemembered(t *testing.T) {
	m := newMemory(time.Minute)
	m.lingering("/db", []state.User{{PID: 4711, Command: "sh"}})
	m.missed("/db", time.Now())
	var o state.Observed
	m.fill(&o, time.Now())
	if got := o.Attempts["/db"]; got.Missed != 1 || len(got.Users) != 1 || got.Users[0].PID != 4711 {
		t.Errorf("remembered %+v", got)
	}
	m.moved("/db")
	m.fill(&o, time.Now())
	if got, ok := o.Attempts["/db"]; ok {
		t.Errorf("after the move %+v", got)
	}
}
