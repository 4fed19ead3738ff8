package marathon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/drover-project/drover/state"
)

// App asks for one app afresh, its tasks included. ErrNotFound means that Marathon says there is none.
func (c *Client) App(ctx context.Context, id state.AppID) (*state.RunningApp, error) {
	path, err := appPath(id)
	if err != nil {
		return nil, err
	}
	var app *state.RunningApp
	err = c.marathon.read(ctx, path, nil, func(b []byte) error {
		var j struct{ App json.RawMessage }
		if err := json.Unmarshal(b, &j); err != nil {
			return err
		}
		if j.App == nil {
			return errMissing("app")
		}
		app, _, err = decodeApp(j.App)
		if err == nil && app.ID != id {
			err = fmt.Errorf("asked for %s, got %s", id, app.ID)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return app, nil
}

// PutOptions say how a definition is put.
type PutOptions struct {
	Force   bool // cancel the deployments that hold the app instead of failing with ErrLocked
	Partial bool // fields that are absent keep their value; without it they get Marathon's default
}

// PutApp creates or changes an app and returns the deployment that carries it out. Putting what is already there gives a
// deployment without steps. Marathon has no compare-and-set: of two writers the later wins.
func (c *Client) PutApp(ctx context.Context, id state.AppID, definition json.RawMessage, o PutOptions) (state.Deployment, error) {
	path, err := appPath(id)
	if err != nil {
		return state.Deployment{}, err
	}
	if !bytes.HasPrefix(bytes.TrimSpace(definition), []byte("{")) || !json.Valid(definition) {
		return state.Deployment{}, fmt.Errorf("put %s: %w: the definition is not a JSON object", id, ErrInvalid)
	}
	q := flags(map[string]bool{"force": o.Force, "partialUpdate": o.Partial})
	return c.change(ctx, call{method: http.MethodPut, path: path, query: q, body: definition}, id)
}

// DeleteApp deletes an app; its tasks are killed. Without force it fails with ErrLocked while a deployment holds the app.
func (c *Client) DeleteApp(ctx context.Context, id state.AppID, force bool) (state.Deployment, error) {
	path, err := appPath(id)
	if err != nil {
		return state.Deployment{}, err
	}
	// Marathon's own default is force=true here.
	return c.change(ctx, call{method: http.MethodDelete, path: path, query: flags(map[string]bool{"force": force})}, id)
}

// ResetDelay lets an app whose tasks failed start at once instead of waiting for its back-off. ErrNotFound means that the app
// waits for nothing.
func (c *Client) ResetDelay(ctx context.Context, id state.AppID) error {
	if _, err := appPath(id); err != nil {
		return err
	}
	k := call{method: http.MethodDelete, path: "/v2/queue" + string(id) + "/delay"}
	return c.marathon.do(ctx, k, func(answer) error { return nil })
}

// KillOptions say what becomes of killed tasks. Scale and Wipe exclude each other.
type KillOptions struct {
	Scale bool // lower the instances too; without it replacements start
	Wipe  bool // forget the instances, with their reservations and persistent volumes
	Force bool // with Scale: cancel deployments that hold the app
}

// KillTasks orders the kill of the given tasks; unknown ids are skipped. Success means that the kills were issued: it is no
// proof that a process is gone. The deployment is the zero one unless o.Scale is set.
func (c *Client) KillTasks(ctx context.Context, ids []string, o KillOptions) (state.Deployment, error) {
	if o.Scale && o.Wipe {
		return state.Deployment{}, fmt.Errorf("kill tasks: %w: scale and wipe exclude each other", ErrInvalid)
	}
	body, err := json.Marshal(map[string][]string{"ids": append([]string{}, ids...)})
	if err != nil {
		return state.Deployment{}, err
	}
	q := flags(map[string]bool{"scale": o.Scale, "wipe": o.Wipe, "force": o.Force})
	k := call{method: http.MethodPost, path: "/v2/tasks/delete", query: q, body: body}
	if o.Scale {
		return c.change(ctx, k)
	}
	return state.Deployment{}, c.marathon.do(ctx, k, func(a answer) error {
		var j struct{ Tasks *[]json.RawMessage }
		if err := json.Unmarshal(a.body, &j); err != nil {
			return err
		}
		if j.Tasks == nil {
			return errMissing("tasks")
		}
		return nil
	})
}

// change makes a call that starts a deployment.
func (c *Client) change(ctx context.Context, k call, apps ...state.AppID) (state.Deployment, error) {
	d := state.Deployment{Apps: apps}
	err := c.marathon.do(ctx, k, func(a answer) error {
		var j struct {
			DeploymentID string
			Version      timestamp
		}
		if err := json.Unmarshal(a.body, &j); err != nil {
			return err
		}
		d.ID, d.Version = j.DeploymentID, j.Version.Time
		if d.ID == "" {
			return errMissing("deploymentId")
		}
		return nil
	})
	if err != nil {
		return state.Deployment{}, err
	}
	return d, nil
}

var segmentRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// appPath returns the path at which Marathon serves an app. It refuses ids that Marathon would take for something else: DELETE of
// /a/tasks kills the tasks of /a, and /a/restart is read as /a by some versions.
func appPath(id state.AppID) (string, error) {
	rest, absolute := strings.CutPrefix(string(id), "/")
	if !absolute {
		return "", fmt.Errorf("app id %q: %w: want an absolute path such as /todo/db", id, ErrInvalid)
	}
	for i, s := range strings.Split(rest, "/") {
		if err := checkSegment(s, i); err != nil {
			return "", fmt.Errorf("app id %q: %w: %w", id, ErrInvalid, err)
		}
	}
	return "/v2/apps/" + rest, nil
}

func checkSegment(s string, i int) error {
	switch {
	case !segmentRE.MatchString(s) || strings.Contains(s, ".."):
		return errors.New("only a-z, 0-9, inner - and . may stand between the slashes")
	case i > 0 && (s == "tasks" || s == "restart" || s == "versions"):
		return fmt.Errorf("%q has a meaning of its own in Marathon's API", s)
	}
	return nil
}
