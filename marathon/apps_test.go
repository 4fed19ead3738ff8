package marathon

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/drover-project/drover/state"
)

// An id that Marathon would read as another call must not be sent.
func TestIDsThatMeanSomethingElse(t *testing.T) {
	s := serve(t, nil)
	m := client(t, Options{}, s.URL)
	for _, id := range []state.AppID{
		"", "/", "x", "/a/", "//a", "/a//b", "/a/..", "/../a", "/a/.", "/a?force=true", "/a#b", "/a%2fb", "/A", "/a b", "/*", "/a/*",
		"/a/tasks", "/a/restart", "/a/versions", "/a/tasks/t1", "/a..b",
	} {
		_, get := m.App(t.Context(), id)
		_, put := m.PutApp(t.Context(), id, json.RawMessage(`{}`), PutOptions{})
		_, del := m.DeleteApp(t.Context(), id, true)
		for _, err := range []error{get, put, del, m.ResetDelay(t.Context(), id)} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", id, err)
			}
		}
	}
	if len(s.requests()) != 0 {
		t.Errorf("sent %q", s.requests())
	}
	for _, id := range []state.AppID{"/a", "/todo/db", "/a-b/c.d/0", "/tasks-of/x"} {
		if p, err := appPath(id); err != nil || p != "/v2/apps"+string(id) {
			t.Errorf("%q: %q, %v", id, p, err)
		}
	}
}

func TestDefinitionsThatAreNone(t *testing.T) {
	s := serve(t, nil)
	for _, def := range []string{"", "null", "[]", `{"cmd":`, "<html>", `"x"`} {
		_, err := client(t, Options{}, s.URL).PutApp(t.Context(), "/x", json.RawMessage(def), PutOptions{})
		if !errors.Is(err, ErrInvalid) || len(s.requests()) != 0 {
			t.Errorf("%s: %v, sent %q", def, err, s.requests())
		}
	}
}

func TestMutationsSayWhatTheyMean(t *testing.T) {
	s := serve(t, routes{
		"PUT /v2/apps/x":            says(201, changed),
		"DELETE /v2/apps/x":         says(200, changed),
		"DELETE /v2/deployments/d1": says(202, ``),
		"DELETE /v2/deployments/d2": says(200, changed),
		"POST /v2/tasks/delete":     says(200, `{"tasks":[]}`),
		"DELETE /v2/queue/x/delay":  says(204, ``),
	})
	m := client(t, Options{}, s.URL)
	do := func(_ state.Deployment, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	do(m.PutApp(t.Context(), "/x", json.RawMessage(` {}`), PutOptions{Force: true, Partial: true}))
	do(m.DeleteApp(t.Context(), "/x", false))
	do(m.CancelDeployment(t.Context(), "d1", true))
	do(m.CancelDeployment(t.Context(), "d2", false))
	do(m.KillTasks(t.Context(), []string{"t"}, KillOptions{Wipe: true}))
	do(state.Deployment{}, m.ResetDelay(t.Context(), "/x"))
	want := []string{
		"PUT /v2/apps/x?force=true&partialUpdate=true", "DELETE /v2/apps/x?force=false",
		"DELETE /v2/deployments/d1?force=true", "DELETE /v2/deployments/d2?force=false",
		"POST /v2/tasks/delete?force=false&scale=false&wipe=true", "DELETE /v2/queue/x/delay",
	}
	if got := s.requests(); !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	if _, err := m.KillTasks(t.Context(), nil, KillOptions{Scale: true, Wipe: true}); !errors.Is(err, ErrInvalid) {
		t.Errorf("scale and wipe: %v", err)
	}
	if _, err := m.CancelDeployment(t.Context(), "", true); !errors.Is(err, ErrInvalid) {
		t.Errorf("no deployment: %v", err)
	}
}
