package manifest

import (
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// What Drover sets by itself in the definition of an app with volumes (and what a manifest may repeat, but not contradict)
// is checked here, and of the rest only what Marathon would surely refuse. A field that is null is as good as absent, as in
// Marathon.

// jsonKind names the form of a JSON value for people.
func jsonKind(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case string:
		return "text"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	}
	return "fields (name: value)"
}

// marathonKinds are the forms that Marathon demands of fields that people often get wrong.
var marathonKinds = map[string]string{
	"id": "text", "cmd": "text", "user": "text",
	"args": "a list", "constraints": "a list", "dependencies": "a list", "fetch": "a list", "healthChecks": "a list",
	"networks": "a list", "portDefinitions": "a list", "readinessChecks": "a list",
	"cpus": "a number", "mem": "a number", "disk": "a number", "gpus": "a number", "instances": "a number",
	"taskKillGracePeriodSeconds": "a number", "backoffSeconds": "a number", "maxLaunchDelaySeconds": "a number",
	"container": "fields (name: value)", "env": "fields (name: value)", "labels": "fields (name: value)",
	"upgradeStrategy": "fields (name: value)",
}

func (a *appDocument) checkMarathon() {
	if a.raw == nil {
		return
	}
	for _, name := range names(a.raw) {
		if want, ok := marathonKinds[name]; ok && a.raw[name] != nil && jsonKind(a.raw[name]) != want {
			a.problem(inMarathon(name), "is %s: Marathon wants %s", jsonKind(a.raw[name]), want)
		}
	}
	a.checkMarathonID()
	a.checkCommand()
	a.checkText("labels")
	a.checkText("env")
	a.checkVolumes()
	if a.stateful() {
		a.checkOwned()
	}
}

func inMarathon(field string) string { return "spec.marathon." + field }

func (a *appDocument) definition() json.RawMessage {
	text, err := jsonText(a.document.raw)
	if err != nil {
		a.problem("spec.marathon", "%v", err)
	}
	return text
}

func (a *appDocument) checkMarathonID() {
	id, ok := a.raw["id"].(string)
	if ok && "/"+strings.Trim(id, "/") != string(a.out.ID) && a.out.ID != "" {
		a.problem(inMarathon("id"), "is %q, but metadata.name is %q: want it left out", id, a.out.ID)
	}
}

func (a *appDocument) checkCommand() {
	cmd := a.raw["cmd"]
	hasCmd, hasArgs, hasContainer := cmd != nil, a.raw["args"] != nil, a.raw["container"] != nil
	switch {
	case hasCmd && hasArgs:
		a.problem(inMarathon("args"), "is there beside cmd: want one of the two")
	case !hasCmd && !hasArgs && !hasContainer:
		a.problem("spec.marathon", "says nothing to run: want cmd, args or container")
	case hasCmd && cmd == "":
		a.problem(inMarathon("cmd"), "is empty: want a command")
	}
}

// checkText finds the numbers and booleans that YAML makes of values that were meant as text.
func (a *appDocument) checkText(field string) {
	values, _ := a.raw[field].(map[string]any) // another form was refused above
	for _, name := range names(values) {
		switch v := values[name].(type) {
		case json.Number, bool:
			a.problem(inMarathon(field)+"."+name, "is %s: Marathon wants text; put it in quotes: \"%v\"", jsonKind(v), v)
		}
	}
}

func (a *appDocument) checkOwned() {
	const single = "MARATHON_SINGLE_INSTANCE_APP"
	if labels, ok := a.raw["labels"].(map[string]any); ok {
		if v, set := labels[single]; set && v != "true" {
			a.problem(inMarathon("labels."+single), "is %v: want it left out; Drover sets it to \"true\" for an app with volumes", v)
		}
	}
	if s := a.raw["unreachableStrategy"]; s != nil && s != "disabled" {
		a.problem(inMarathon("unreachableStrategy"), "is Drover's for an app with volumes: want it left out, or disabled; a second task must not start while the first is only unreachable")
	}
	strategy, _ := a.raw["upgradeStrategy"].(map[string]any) // another form was refused above
	for _, part := range []string{"minimumHealthCapacity", "maximumOverCapacity"} {
		if v, ok := strategy[part]; ok && !isZero(v) {
			a.problem(inMarathon("upgradeStrategy."+part), "is %v: want it left out, or 0; two tasks of an app with volumes must not overlap", v)
		}
	}
	env, _ := a.raw["env"].(map[string]any) // another form was refused above
	for i, m := range a.app.Spec.Volumes {
		if _, ok := env[m.Env]; ok && m.Env != "" {
			a.problem(inMarathon("env."+m.Env), "is set by Drover to the path of volume %s (spec.volumes[%d].env): want it left out", m.Name, i)
		}
	}
}

func isZero(v any) bool {
	n, ok := v.(json.Number)
	if !ok {
		return false
	}
	f, err := n.Float64()
	return err == nil && f == 0
}

// checkVolumes looks at the mounts that the definition has of its own.
func (a *appDocument) checkVolumes() {
	container, _ := a.raw["container"].(map[string]any) // another form was refused above
	list, _ := container["volumes"].([]any)
	for i, item := range list {
		v, _ := item.(map[string]any)
		at := fmt.Sprintf("%s[%d]", inMarathon("container.volumes"), i)
		if p, ok := v["containerPath"].(string); ok {
			a.checkOwnMount(at+".containerPath", p)
		}
		if _, ok := v["persistent"]; ok && a.stateful() {
			a.problem(at+".persistent", "ties the app to its agent, so it could never move: want a Volume document and an entry in spec.volumes")
		}
	}
}

func (a *appDocument) checkOwnMount(field, p string) {
	for i, m := range a.app.Spec.Volumes {
		if m.ContainerPath != "" && path.Clean(m.ContainerPath) == path.Clean(p) {
			a.problem(field, "is %q, where volume %s is mounted (spec.volumes[%d]): want it left out; Drover writes the mount", p, m.Name, i)
		}
	}
}

// hostPaths returns the host paths that the definition mounts, by field.
func (a *appDocument) hostPaths() map[string]string {
	container, _ := a.raw["container"].(map[string]any) // another form was refused above
	list, _ := container["volumes"].([]any)
	out := map[string]string{}
	for i, item := range list {
		v, _ := item.(map[string]any)
		if p, ok := v["hostPath"].(string); ok {
			out[fmt.Sprintf("%s[%d].hostPath", inMarathon("container.volumes"), i)] = p
		}
	}
	return out
}

// wholeNumber returns a field of the definition; false if it is not there or not a whole number, which is then said.
func (a *appDocument) wholeNumber(field string) (int, bool) {
	v, ok := a.raw[field].(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(v.String())
	if err != nil {
		a.problem(inMarathon(field), "is %s: want a whole number", v)
	}
	return n, err == nil
}

// rawConstraints returns the definition's own constraints; nil for those of a wrong form, which is said.
func (a *appDocument) rawConstraints() []Constraint {
	list, _ := a.raw["constraints"].([]any) // another form is refused with the others
	out := make([]Constraint, len(list))
	for i, item := range list {
		words, isList := item.([]any)
		c := Constraint{}
		for _, w := range words {
			if text, ok := w.(string); ok {
				c = append(c, text)
			}
		}
		if !isList || len(c) != len(words) {
			a.problem(fmt.Sprintf("%s[%d]", inMarathon("constraints"), i), "is not a list of text: want for example [disk, CLUSTER, ssd]")
			continue
		}
		out[i] = c
	}
	return out
}
