package state

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
)

func family() *Copy {
	child := func(path string, g GUID) Child {
		return Child{Path: path, Filesystem: Filesystem{Snapshots: []Snapshot{{GUID: g}}}}
	}
	return &Copy{Dataset: "tank/v", UUID: "u", Role: Standby, Filesystem: Filesystem{Snapshots: []Snapshot{{GUID: 1}}},
		Children: []Child{child("b", 2), child("a/x", 3), child("a", 4), child("a-2", 5)}}
}

func TestParentsComeFirst(t *testing.T) {
	c := family()
	if got := c.Paths(); !slices.Equal(got, []string{"", "a", "a-2", "a/x", "b"}) {
		t.Errorf("got %q", got)
	}
	if p := c.Part("a/x"); p.Dataset != "tank/v/a/x" || p.UUID != "u" || p.Role != Standby || p.Newest().GUID != 3 {
		t.Errorf("got %+v", p)
	}
	if c.Part("c") != nil || c.Part("") != c || (*Copy)(nil).Part("a") != nil {
		t.Error("parts that are not there")
	}
}

func TestBelow(t *testing.T) {
	if (&Copy{Filesystem: Filesystem{Snapshots: []Snapshot{{GUID: 1}}}}).Below() != "" {
		t.Error("no children have a digest")
	}
	want := family().Below()
	turned := family()
	slices.Reverse(turned.Children)
	if turned.Below() != want || !turned.Complete(family()) {
		t.Error("the order counts")
	}
	seen := family()
	seen.Snapshots = append(slices.Clone(seen.Snapshots), Snapshot{Name: "by-somebody", GUID: 99})
	if !seen.Complete(family()) {
		t.Error("an empty snapshot that somebody took makes it incomplete")
	}
	seen.Snapshots[len(seen.Snapshots)-1].Written = 1
	if seen.Complete(family()) {
		t.Error("a snapshot of something that its source does not have leaves it complete")
	}
	for name, change := range map[string]func(*Copy){
		"missing":          func(c *Copy) { c.Children = c.Children[1:] },
		"extra":            func(c *Copy) { c.Children = append(c.Children, Child{Path: "z"}) },
		"another snapshot": func(c *Copy) { c.Children[0].Snapshots[0].GUID = 9 },
		"no snapshot":      func(c *Copy) { c.Children[0].Snapshots = nil },
		"renamed":          func(c *Copy) { c.Children[0].Path = "bb" },
		"exchanged": func(c *Copy) {
			c.Children[0].Snapshots, c.Children[1].Snapshots = c.Children[1].Snapshots, c.Children[0].Snapshots
		},
	} {
		c := family()
		change(c)
		if c.Below() == want || c.Complete(family()) {
			t.Errorf("%s: the digest is the same", name)
		}
	}
}

func TestCopyWithALaterLookAtOnePart(t *testing.T) {
	later := family()
	for i := range later.Children {
		later.Children[i].Written = 7
	}
	later.Written, later.Children[2].Snapshots = 7, []Snapshot{{GUID: 4}, {GUID: 9}}
	later.Children = later.Children[1:] // without b
	written := func(c *Copy) (paths []string) {
		for _, path := range c.Paths() {
			if c.Part(path).Written > 0 {
				paths = append(paths, path)
			}
		}
		return paths
	}
	for _, path := range []string{"", "a"} {
		c := family().With(path, later)
		if got := written(c); !slices.Equal(got, []string{path}) || len(c.Children) != 4 {
			t.Errorf("with %q: new are %q of %q", path, got, c.Paths())
		}
	}
	if c := family().With("a", later); c.Part("a").Newest().GUID != 9 || c.Part("b").Newest().GUID != 2 {
		t.Errorf("got %+v", c)
	}
	if c := family().With("b", later); c.Part("b") != nil || len(c.Children) != 3 {
		t.Errorf("b is still there: %q", c.Paths())
	}
	if c := later.With("b", family()); c.Part("b") == nil {
		t.Errorf("b has not come: %q", c.Paths())
	}
	if none := (*Copy)(nil); none.With("", later) != later || later.With("a", none) != nil {
		t.Error("copies that are not there")
	}
}

// What is known of a file system is not wrapped on its way from an agent: copies and what is below them read as they always have.
func TestFilesystemsAreFlatInJSON(t *testing.T) {
	want := family()
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var keys struct {
		Snapshots []any
		Children  []struct{ Snapshots []any }
	}
	got := &Copy{}
	if err := errors.Join(json.Unmarshal(b, &keys), json.Unmarshal(b, got)); err != nil {
		t.Fatal(err)
	}
	if len(keys.Snapshots) != 1 || len(keys.Children) != 4 || len(keys.Children[0].Snapshots) != 1 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v of %s", got, b)
	}
}
