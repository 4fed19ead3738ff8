package todo

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// api is a client of the Todo-Backend API that knows only what that API promises.
type api struct {
	t    *testing.T
	root string
}

func (a api) call(method, url, body string, want int) map[string]any {
	a.t.Helper()
	status, header, text := request(a.t, method, url, body)
	if status != want {
		a.t.Fatalf("%s %s %s: %d %s, want %d", method, url, body, status, text, want)
	}
	if got := header.Get("Access-Control-Allow-Origin"); got != "*" {
		a.t.Errorf("%s %s: allowed origin %q, want *", method, url, got)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil && !strings.HasPrefix(text, "[") {
		a.t.Fatalf("%s %s: %s: %v", method, url, text, err)
	}
	return out
}

func (a api) post(body string) map[string]any {
	a.t.Helper()
	return a.call("POST", a.root, body, http.StatusCreated)
}

func (a api) list() []map[string]any {
	a.t.Helper()
	status, _, text := request(a.t, "GET", a.root, "")
	var out []map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil || status != http.StatusOK {
		a.t.Fatalf("list: %d %s: %v", status, text, err)
	}
	return out
}

func (a api) want(what string, got map[string]any, field string, want any) {
	a.t.Helper()
	if got[field] != want {
		a.t.Errorf("%s: %s is %v, want %v", what, field, got[field], want)
	}
}

func startAPI(t *testing.T) api {
	t.Helper()
	db := startDB(t, t.TempDir(), "127.0.0.1:0", "node1")
	web := startWeb(t, db.addr, deadline)
	return api{t: t, root: "http://" + web.addr + "/"}
}

// TestTodoBackend holds what the Todo-Backend specification asks of every implementation.
func TestTodoBackend(t *testing.T) {
	a := startAPI(t)
	if got := a.list(); len(got) != 0 {
		t.Fatalf("fresh list: %v", got)
	}
	created := a.post(`{"title":"walk the dog"}`)
	a.want("created", created, "title", "walk the dog")
	a.want("created", created, "completed", false)
	url, _ := created["url"].(string)
	a.want("by url", a.call("GET", url, "", 200), "title", "walk the dog")
	a.post(`{"title":"second"}`)
	listed := a.list()
	if len(listed) != 2 {
		t.Fatalf("list: %v, want two", listed)
	}
	a.want("listed", listed[0], "url", url)

	a.want("patched", a.call("PATCH", url, `{"title":"bathe the cat"}`, 200), "title", "bathe the cat")
	a.want("patched", a.call("PATCH", url, `{"completed":true}`, 200), "completed", true)
	a.want("fetched again", a.call("GET", url, "", 200), "title", "bathe the cat")
	a.want("listed again", a.list()[0], "completed", true)

	ordered := a.post(`{"title":"blah","order":523}`)
	a.want("ordered", ordered, "order", 523.0)
	there, _ := ordered["url"].(string)
	a.want("patched order", a.call("PATCH", there, `{"order":95}`, 200), "order", 95.0)
	a.want("fetched order", a.call("GET", there, "", 200), "order", 95.0)

	a.call("DELETE", url, "", 200)
	a.call("GET", url, "", 404)
	a.call("DELETE", url, "", 200)
	a.call("DELETE", a.root, "", 200)
	if got := a.list(); len(got) != 0 {
		t.Errorf("after DELETE: %v", got)
	}
}

func TestPreflight(t *testing.T) {
	a := startAPI(t)
	status, header, _ := request(t, "OPTIONS", a.root+"some-id", "")
	if status != http.StatusNoContent || !strings.Contains(header.Get("Access-Control-Allow-Methods"), "PATCH") ||
		!strings.Contains(header.Get("Access-Control-Allow-Headers"), "Content-Type") {
		t.Errorf("got %d %v", status, header)
	}
}

func TestRefusals(t *testing.T) {
	a := startAPI(t)
	for name, c := range map[string]struct {
		method, path, body string
		want               int
		says               string
	}{
		"no JSON":            {"POST", "", `{"title":`, 400, "JSON"},
		"no title":           {"POST", "", `{}`, 400, "title is empty"},
		"blank title":        {"POST", "", `{"title":"  "}`, 400, "title is empty"},
		"long title":         {"POST", "", `{"title":"` + strings.Repeat("x", maxTitle+1) + `"}`, 400, "at most"},
		"huge body":          {"POST", "", `{"title":"` + strings.Repeat("x", maxBody) + `"}`, 400, "too large"},
		"id with a slash":    {"POST", "", `{"id":"a/b","title":"x"}`, 400, "id"},
		"id of health":       {"POST", "", `{"id":"healthz","title":"x"}`, 400, "healthz"},
		"patch of nothing":   {"PATCH", "none", `{"title":"x"}`, 404, "no such"},
		"patch to blank":     {"PATCH", "none", `{"title":""}`, 400, "empty"},
		"get of nothing":     {"GET", "none", "", 404, "no such"},
		"id that is a path":  {"GET", "..%2fhealthz", "", 404, "no such"},
		"mistyped parameter": {"DELETE", "?completd=true", "", 400, "completd"},
		"mistyped value":     {"DELETE", "?completed=yes", "", 400, "completed"},
		"delete of the rest": {"DELETE", "?completed=false", "", 400, "only"},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, text := request(t, c.method, a.root+c.path, c.body)
			if status != c.want || !strings.Contains(text, c.says) {
				t.Errorf("got %d %s, want %d and %q", status, text, c.want, c.says)
			}
		})
	}
}

func TestPageForBrowsers(t *testing.T) {
	a := startAPI(t)
	status, header, text := request(t, "GET", a.root, "", "Accept", "text/html,*/*")
	if status != 200 || !strings.Contains(text, "What needs to be done?") || header.Get("Vary") != "Accept" {
		t.Errorf("page: %d %v %.80s", status, header, text)
	}
	if strings.Contains(text, "//") {
		t.Error("the page names another host; it must work without any")
	}
	for file, kind := range map[string]string{"page.js": "javascript", "page.css": "css", "icon.svg": "svg"} {
		status, header, _ := request(t, "GET", a.root+"page/"+file, "")
		if status != 200 || !strings.Contains(header.Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", file, status, header.Get("Content-Type"))
		}
	}
}

func TestHeadersTellWhere(t *testing.T) {
	a := startAPI(t)
	a.post(`{"title":"one"}`)
	a.post(`{"title":"two","completed":true}`)
	_, header, _ := request(t, "GET", a.root+"?last=1", "")
	for name, want := range map[string]string{HeaderNode: "node1", HeaderWeb: "webnode", HeaderTotal: "2", HeaderCompleted: "1"} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	a.call("DELETE", a.root+"?completed=true", "", 200)
	if left := a.list(); len(left) != 1 || left[0]["title"] != "one" {
		t.Errorf("after clearing the completed: %v", left)
	}
}
