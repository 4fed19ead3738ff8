package marathon

import (
	"errors"
	"net/http"
	"slices"
	"testing"
)

var allKinds = map[string]error{
	"notfound": ErrNotFound, "locked": ErrLocked, "conflict": ErrConflict, "invalid": ErrInvalid,
	"unauthorized": ErrUnauthorized, "unavailable": ErrUnavailable, "ambiguous": ErrAmbiguous,
}

func kindsOf(err error) []string {
	var ks []string
	for name, k := range allKinds {
		if errors.Is(err, k) {
			ks = append(ks, name)
		}
	}
	slices.Sort(ks)
	return ks
}

// Every error body that Marathon is known to write, and what proxies put in its place.
func TestErrorAnswers(t *testing.T) {
	html := `<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>`
	for name, c := range map[string]struct {
		status   int
		body     string
		read     []string // kinds if a read got it
		mutation []string // kinds if a mutation got it
		says     []string
	}{
		"message and text": {400, `{"message":"Invalid JSON","details":"Unexpected end-of-input"}`,
			[]string{"invalid"}, []string{"invalid"}, []string{"400 Bad Request: Invalid JSON: Unexpected end-of-input"}},
		"details list": {422, `{"message":"Object is not valid","details":[{"path":"/upgradeStrategy","errors":["got 2.0","x"]},{"path":"/id","errors":["bad"]}]}`,
			[]string{"invalid"}, []string{"invalid"}, []string{"/upgradeStrategy: got 2.0, x; /id: bad"}},
		"message only":    {422, `{"message":"bad selector"}`, []string{"invalid"}, []string{"invalid"}, []string{"bad selector"}},
		"odd details":     {422, `{"message":"m","details":{"a":1}}`, []string{"invalid"}, []string{"invalid"}, []string{`{"a":1}`}},
		"no credentials":  {401, ``, []string{"unauthorized"}, []string{"unauthorized"}, []string{"401 Unauthorized without an explanation"}},
		"no right":        {403, `{"message":"Not Authorized to perform this action!"}`, []string{"unauthorized"}, []string{"unauthorized"}, nil},
		"too many":        {403, `{"message":"Max number (100) of running deployments is achieved."}`, []string{"unavailable"}, []string{"unavailable"}, nil},
		"no app":          {404, `{"message":"App '/x' does not exist"}`, []string{"notfound"}, []string{"notfound"}, []string{"does not exist"}},
		"no route in 1.5": {404, `{"message":"URI not found: /p"}`, []string{"unavailable"}, []string{"unavailable"}, nil},
		"no route later":  {500, `{"message":"URI not found"}`, []string{"unavailable"}, []string{"unavailable"}, nil},
		"404 of a proxy":  {404, `<html>nothing</html>`, []string{"unavailable"}, []string{"unavailable"}, []string{"not from the API"}},
		"404 empty":       {404, ``, []string{"unavailable"}, []string{"unavailable"}, nil},
		"locked": {409, `{"message":"App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'.","deployments":[{"id":"d1"},{"id":"d2"}]}`,
			[]string{"locked"}, []string{"locked"}, []string{"locked by deployment d1, d2"}},
		"conflict":           {409, `{"message":"An app with id [/x] already exists."}`, []string{"conflict"}, []string{"conflict"}, []string{"already exists"}},
		"media type":         {415, `{"message":"Unsupported Media Type"}`, nil, nil, nil},
		"internal":           {500, `{"message":"boom"}`, []string{"unavailable"}, []string{"ambiguous", "unavailable"}, []string{"boom"}},
		"html":               {502, html, []string{"unavailable"}, []string{"ambiguous", "unavailable"}, []string{"502 Bad Gateway", "not from the API"}},
		"leader refused":     {502, `{"message":"Connection to leader refused."}`, []string{"unavailable"}, []string{"unavailable"}, nil},
		"no leader":          {502, `{"message":"Could not determine the current leader"}`, []string{"unavailable"}, []string{"unavailable"}, nil},
		"empty 503":          {503, ``, []string{"unavailable"}, []string{"ambiguous", "unavailable"}, nil},
		"too many at once":   {503, `{"message":"Too many concurrent requests! Allowed: 20."}`, []string{"unavailable"}, []string{"unavailable"}, nil},
		"JSON, not Marathon": {503, `["a"]`, []string{"unavailable"}, []string{"ambiguous", "unavailable"}, []string{`[\"a\"]`}},
		"message no text":    {500, `{"message":{"a":1}}`, []string{"unavailable"}, []string{"ambiguous", "unavailable"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, routes{"GET /v2/deployments": says(c.status, c.body), "DELETE /v2/apps/x": says(c.status, c.body)})
			m := client(t, Options{}, s.URL)
			_, err := m.Deployments(t.Context())
			if got := kindsOf(err); !slices.Equal(got, c.read) {
				t.Errorf("read: %v is %v, want %v", err, got, c.read)
			}
			_, err = m.DeleteApp(t.Context(), "/x", false)
			if got := kindsOf(err); !slices.Equal(got, c.mutation) {
				t.Errorf("mutation: %v is %v, want %v", err, got, c.mutation)
			}
			contains(t, err.Error(), append(c.says, "DELETE /v2/apps/x at "+s.URL)...)
			if n := len(s.requests()); n != 2 {
				t.Errorf("%d requests, want one each", n)
			}
		})
	}
}

func TestErrorFields(t *testing.T) {
	s := serve(t, routes{"PUT /v2/apps/x": says(422, `{"message":"Invalid JSON","details":[{"path":"/constraints(0)","errors":["error.path.missing"]}]}`)})
	_, err := client(t, Options{}, s.URL).PutApp(t.Context(), "/x", []byte(`{}`), PutOptions{})
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T", err)
	}
	if e.Status != 422 || e.Method != http.MethodPut || e.Path != "/v2/apps/x" || e.Message != "Invalid JSON" {
		t.Errorf("got %+v", e)
	}
	if len(e.Details) != 1 || e.Details[0].Path != "/constraints(0)" || e.Details[0].Errors[0] != "error.path.missing" {
		t.Errorf("details %+v", e.Details)
	}
}

func TestExcerptIsShortAndValid(t *testing.T) {
	for _, in := range []string{"", "plain", "<title> </title>x", string(make([]byte, 5000)), "\xff\xfe" + string([]rune{0x1F600})} {
		if got := excerpt([]byte(in)); len(got) > excerptLen+3 {
			t.Errorf("%d bytes", len(got))
		}
	}
	long := ""
	for len(long) < 1000 {
		long += "é😀"
	}
	got := excerpt([]byte(long))
	if []rune(got)[len([]rune(got))-4] == 0xFFFD {
		t.Errorf("cut through a character: %q", got)
	}
}
