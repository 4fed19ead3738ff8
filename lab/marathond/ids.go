package marathond

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

// segmentPattern is what one segment of an app id must fully match.
const segmentPattern = `^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])|(\.|\.\.)$`

var (
	segmentRE = regexp.MustCompile(`^((([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])|(\.|\.\.))$`)
	pathRE    = regexp.MustCompile(`^/?((` + inner + `|\.\.?)(/(` + inner + `|\.\.?))*/?)?$`)
	taskIDRE  = regexp.MustCompile(`^.+\.(instance-[0-9a-f-]{36}\._?[^.]+\.\d+|[0-9a-f]{8}-[0-9a-f-]{27}(\.\d+)?|(marathon|instance)-[0-9a-f-]{36}.*)$`)
)

const inner = `(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])`

// resolvePath makes an absolute id of raw, taken relative to base. Doubled, leading and trailing slashes collapse;
// dots are resolved and never leave the root.
func resolvePath(base, raw string) string {
	if !strings.HasPrefix(raw, "/") {
		raw = base + "/" + raw
	}
	var out []string
	for seg := range strings.SplitSeq(raw, "/") {
		switch seg {
		case "", ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, seg)
		}
	}
	return "/" + strings.Join(out, "/")
}

// parentPath is the group of an id; the root is its own parent.
func parentPath(id string) string {
	i := strings.LastIndexByte(id, '/')
	if i <= 0 {
		return "/"
	}
	return id[:i]
}

// within tells whether id lies in the group, at any depth.
func within(id, group string) bool {
	return group == "/" || strings.HasPrefix(id, group+"/")
}

// safePath is an id as it appears in task ids: segments joined by underscores.
func safePath(id string) string {
	return strings.ReplaceAll(strings.TrimPrefix(id, "/"), "/", "_")
}

// reversedPath is the Mesos task name of an app: segments reversed, joined by dots.
func reversedPath(id string) string {
	segs := strings.Split(strings.Trim(id, "/"), "/")
	for i, j := 0, len(segs)-1; i < j; i, j = i+1, j-1 {
		segs[i], segs[j] = segs[j], segs[i]
	}
	return strings.Join(segs, ".")
}

func (v Version) newInstanceID(app string) string {
	if v == V15 {
		id, err := uuid.NewUUID()
		if err != nil {
			id = uuid.New()
		}
		return safePath(app) + ".marathon-" + id.String()
	}
	return safePath(app) + ".instance-" + uuid.NewString()
}

func (v Version) taskID(instance string, incarnation int) string {
	if v == V15 {
		return strings.Replace(instance, ".marathon-", ".", 1)
	}
	return fmt.Sprintf("%s._app.%d", instance, incarnation)
}

const stampLayout = "2006-01-02T15:04:05.000Z"

// stamp prints a time as Marathon does: UTC, exactly milliseconds. Stamps order as strings.
func stamp(t time.Time) string { return t.UTC().Format(stampLayout) }

func parseStamp(s string) (time.Time, error) { return time.Parse(time.RFC3339Nano, s) }
