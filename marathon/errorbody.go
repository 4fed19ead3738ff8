package marathon

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"
)

// errorBody is what an error answer says. Marathon writes a message alone, with details as text or as a list, or with
// deployments; proxies write HTML or nothing.
type errorBody struct {
	message     string
	details     []FieldError
	deployments []string
	ours        bool // it is JSON of Marathon's form
}

type errorJSON struct {
	Message     *string
	Details     json.RawMessage
	Deployments []struct{ ID string }
}

func parseErrorBody(b []byte) errorBody {
	var j errorJSON
	if err := json.Unmarshal(b, &j); err != nil || j.Message == nil {
		return errorBody{}
	}
	said := errorBody{message: *j.Message, details: parseDetails(j.Details), ours: true}
	for _, d := range j.Deployments {
		if d.ID != "" {
			said.deployments = append(said.deployments, d.ID)
		}
	}
	return said
}

// parseDetails reads both forms of "details". One of a third form is kept as text: it may be all the explanation there is.
func parseDetails(b json.RawMessage) []FieldError {
	if len(b) == 0 || string(b) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) == nil {
		return []FieldError{{Errors: []string{text}}}
	}
	var list []FieldError
	if json.Unmarshal(b, &list) == nil {
		return list
	}
	return []FieldError{{Errors: []string{excerpt(b)}}}
}

// noRoute reports whether Marathon does not know the path: 404 in 1.5, 500 later.
func (s errorBody) noRoute() bool { return strings.HasPrefix(s.message, "URI not found") }

// notDoneTexts are the answers of a Marathon that is not the leader, or too busy, and passed the request on to nobody.
var notDoneTexts = []string{
	"URI not found",
	"Connection to leader refused",
	"Could not determine the current leader",
	"Detected proxying loop",
	"Too many concurrent requests",
}

// notDone reports whether the answer proves that the request was not carried out.
func (s errorBody) notDone() bool {
	for _, t := range notDoneTexts {
		if strings.HasPrefix(s.message, t) {
			return true
		}
	}
	return false
}

const excerptLen = 200

var (
	titleRE = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	blankRE = regexp.MustCompile(`\s+`)
)

// excerpt returns what a person needs to see of an answer that was not expected: an HTML page's title, else its beginning.
func excerpt(b []byte) string {
	b = b[:min(len(b), 4096)]
	if m := titleRE.FindSubmatch(b); m != nil && len(bytes.TrimSpace(m[1])) > 0 {
		b = m[1]
	}
	s := strings.TrimSpace(blankRE.ReplaceAllString(strings.ToValidUTF8(string(b), "?"), " "))
	if len(s) <= excerptLen {
		return s
	}
	s = s[:excerptLen]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "..."
}
