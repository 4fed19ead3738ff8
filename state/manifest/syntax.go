package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// readable checks what is special to JSON, and rewrites its escapes that YAML does not have. It returns false for a
// file that is no JSON although its name says so, after saying where.
func (s *set) readable(f File) ([]byte, bool) {
	if !strings.HasSuffix(f.Name, ".json") || len(bytes.TrimSpace(f.Data)) == 0 {
		return f.Data, true
	}
	var whole json.RawMessage
	if err := json.Unmarshal(f.Data, &whole); err != nil {
		s.unread(Problem{File: f.Name, Line: jsonErrorLine(f.Data, err), Message: "is not JSON: " + err.Error()})
		return nil, false
	}
	return jsonEscapes.ReplaceAllFunc(f.Data, yamlEscape), true
}

func jsonErrorLine(data []byte, err error) int {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return 0
	}
	return lineAt(data, int(syntax.Offset)-1)
}

// lineAt returns the line, from 1, of an offset.
func lineAt(data []byte, offset int) int {
	return 1 + bytes.Count(data[:max(0, min(offset, len(data)))], []byte("\n"))
}

// jsonEscapes finds what a JSON string may hold and a YAML string may not, or not so: an escaped slash, a character beyond
// U+FFFF escaped in two halves, and bare characters that YAML forbids or takes for line breaks. An escaped backslash is
// matched too, so that what follows it is not taken for an escape.
var jsonEscapes = regexp.MustCompile(`[\x{7f}-\x{9f}\x{2028}\x{2029}\x{feff}\x{fffe}\x{ffff}]|\\\\|\\/|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)

func yamlEscape(m []byte) []byte {
	switch {
	case len(m) == len(`\ud83d\ude00`):
		high, _ := strconv.ParseUint(string(m[2:6]), 16, 32) // the pattern admits hexadecimal digits only
		low, _ := strconv.ParseUint(string(m[8:12]), 16, 32)
		return fmt.Appendf(nil, `\U%08x`, (high-0xd800)<<10+(low-0xdc00)+0x10000)
	case string(m) == `\/`:
		return []byte("/")
	case m[0] != '\\':
		r, _ := utf8.DecodeRune(m)
		return fmt.Appendf(nil, `\u%04x`, r)
	}
	return m
}

var (
	yamlError     = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
	// The parser counts lines from 0, the scanner before it from 1, but for tabs.
	countsFromZero = regexp.MustCompile(`^did not find expected (key|'-' indicator|',' or |node content|<document start>)|^found a tab character that violates`)
)

// syntaxProblem makes one of what the YAML reader said, with the line that it meant.
func syntaxProblem(f File, err error) Problem {
	m := yamlError.FindStringSubmatch(err.Error())
	if m == nil {
		return Problem{File: f.Name, Message: "is not YAML: " + err.Error()}
	}
	return Problem{File: f.Name, Line: syntaxLine(f.Data, m[1], m[2]), Message: "is not YAML: " + m[2]}
}

func syntaxLine(data []byte, line, message string) int {
	if anchor := unknownAnchor.FindStringSubmatch(message); anchor != nil {
		return lineAt(data, bytes.Index(data, []byte("*"+anchor[1])))
	}
	if !utf8.Valid(data) && strings.Contains(message, "UTF-8") {
		return lineAt(data, firstInvalid(data))
	}
	n, err := strconv.Atoi(line)
	if err != nil || countsFromZero.MatchString(message) {
		n++ // no line is the first one
	}
	return n
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return len(data)
}
