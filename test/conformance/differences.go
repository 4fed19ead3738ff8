package conformance

import (
	"fmt"
	"os"
	"strings"
)

// Differences are the known places where the stand-in answers otherwise than OpenZFS: by scenario, the commands as
// [Scenario.Commands] names them, and the reason of each. The command "*" stands for the whole scenario, which the stand-in is
// then not asked.
type Differences map[string]map[string]string

// LoadDifferences reads the list:
//
//	# a comment
//	SCENARIO: reason
//	  $ command
//	  $ command
func LoadDifferences(path string) (Differences, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := Differences{}
	var scenario, reason string
	for i, line := range strings.Split(string(text), "\n") {
		command, isCommand := strings.CutPrefix(line, "  $ ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case !isCommand:
			var ok bool
			if scenario, reason, ok = strings.Cut(line, ": "); !ok || reason == "" {
				return nil, fmt.Errorf("%s:%d: want SCENARIO: reason", path, i+1)
			}
		case scenario == "" || d[scenario][command] != "":
			return nil, fmt.Errorf("%s:%d: without a scenario, or twice: %s", path, i+1, command)
		default:
			if d[scenario] == nil {
				d[scenario] = map[string]string{}
			}
			d[scenario][command] = reason
		}
	}
	return d, nil
}

// Whole says why the stand-in is not asked a scenario; "" if it is.
func (d Differences) Whole(scenario string) string { return d[scenario]["*"] }
