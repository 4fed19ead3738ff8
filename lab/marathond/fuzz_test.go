package marathond

import (
	"encoding/json"
	"reflect"
	"testing"
)

// Whatever is posted is either refused or becomes a definition that, put back as shown, is the same definition.
func FuzzDefinition(f *testing.F) {
	for _, seed := range []string{
		`{"id":"/a","cmd":"x"}`, `{"id":"a/../b","args":["x"],"ports":[0,1],"uris":["http://x/y.tgz"],"constraints":[["a","unique"]]}`,
		`{"id":"/a","container":{"type":"DOCKER","docker":{"image":"i","network":"BRIDGE","portMappings":[{"containerPort":1}]}}}`,
		`{"id":"/a","cmd":"x","healthChecks":[{"protocol":"COMMAND","command":{"value":"x"}},{}],"unreachableStrategy":"disabled","env":{"S":{"secret":"s"}}}`,
		`{"id":"/a","networks":[{"name":"n"}],"readinessChecks":[{}],"fetch":[{"uri":"u"}],"dependencies":["../x"],"upgradeStrategy":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var body any
		if json.Unmarshal(data, &body) != nil {
			return
		}
		for _, v := range []Version{V15, V18, V111} {
			s := &Server{opt: Options{Emulate: v}, m: newModel()}
			first := define(s, body)
			if first == nil {
				continue
			}
			if again := define(s, map[string]any(copyTree(first))); !reflect.DeepEqual(first, again) {
				t.Fatalf("%s: first %v\nagain %v", v, first, again)
			}
		}
	})
}

// define is what POST does with a body; nil if it refuses.
func define(s *Server, body any) tree {
	in, errs := readApp(body, "", true)
	if errs = append(errs, deprecations(in, errs)...); errs != nil {
		return nil
	}
	def, err := s.definition(in, resolvePath("/", in["id"].(string)), nil)
	if err != nil {
		return nil
	}
	return def
}
