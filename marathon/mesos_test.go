package marathon

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
)

func TestDecodeAgents(t *testing.T) {
	got, err := decodeAgents(fixture(t, "slaves.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := []state.MesosAgent{
		{ID: "f-S0", Hostname: "n1", Attributes: map[string]string{}, Active: true, Free: state.Resources{CPUs: 0.1, Disk: 10}},
		{
			ID: "f-S1", Hostname: "n2", Active: true,
			Attributes: map[string]string{"disk": "ssd", "slots": "4", "load": "1.101", "zfs": "true", "ports": "[1-2,5-6]", "tags": "{a,b}", "note": "[sic"},
			Free:       state.Resources{CPUs: 2.1, Mem: 6872, Disk: 1000, Ports: 998},
		},
		{ID: "f-S2", Hostname: "n3", Attributes: map[string]string{}},
		{ID: "f-S3", Hostname: "n4", Attributes: map[string]string{}},
		{ID: "f-S4", Hostname: "n5", Attributes: map[string]string{"disk": "ssd"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{
		``, `{}`, `{"slaves":null}`, `{"slaves":{}}`, `{"slaves":[{}]}`, `{"slaves":[{"id":"a"}]}`,
		`{"slaves":[{"id":"a","hostname":"b","attributes":[]}]}`,
		`{"slaves":[{"id":"a","hostname":"b","resources":{"ports":"31000"}}]}`,
		`{"slaves":[{"id":"a","hostname":"b","resources":{"ports":"[2-1]"}}]}`,
	} {
		if got, err := decodeAgents([]byte(bad)); err == nil {
			t.Errorf("%s: read as %+v", bad, got)
		}
	}
}

func TestAttributeText(t *testing.T) {
	for in, want := range map[string]string{
		`2.0`: "2", `1.0005`: "1", `1.1005`: "1.101", `0.0625`: "0.062", `-1.5`: "-1.5", `1e10`: "10000000000", `0`: "0", `100`: "100",
		`"rack-1"`: "rack-1", `"2.0"`: "2.0", `""`: "", `"[5-6, 1-2]"`: "[1-2,5-6]", `"[]"`: "[]", `"{b,  a}"`: "{a,b}", `"{}"`: "{}",
		`"[a-b]"`: "[a-b]", `"[1-2"`: "[1-2", `"["`: "[", `true`: "true", `{"a":1}`: `{"a":1}`,
	} {
		if got := attributeText(json.RawMessage(in)); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestDecodeMesosTasks(t *testing.T) {
	got, err := decodeMesosTasks(fixture(t, "state.json"), "marathon")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]state.TaskState{
		"run": "running", "back": "running", "cut": "unreachable", "killed": "killed", "gone": "gone_by_operator",
		"past": "finished", "orphan": "running",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"frameworks":{}}`, `{"frameworks":[`} {
		if _, err := decodeMesosTasks([]byte(bad), "marathon"); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func FuzzMesos(f *testing.F) {
	f.Add(fixture(f, "slaves.json"))
	f.Add(fixture(f, "state.json"))
	f.Add([]byte(`{"slaves":[{"id":"a","hostname":"b","attributes":{"x":"[1-18446744073709551615, 0-0]"},"resources":{"ports":"[0-18446744073709551615]"}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tasks, err := decodeMesosTasks(b, "marathon"); err == nil && tasks == nil {
			t.Fatal("no error and no tasks")
		}
		agents, err := decodeAgents(b)
		if err != nil {
			return
		}
		for _, a := range agents {
			if a.Free.CPUs < 0 || a.Free.Mem < 0 || a.Free.Disk < 0 || a.Free.Ports < 0 || a.Free.Ports > maxPorts {
				t.Fatalf("free %+v", a.Free)
			}
			for name, v := range a.Attributes {
				if again := normalText(v); strings.HasPrefix(v, "[") && again != v {
					t.Fatalf("attribute %s: %q is not normal: %q", name, v, again)
				}
			}
		}
	})
}

// cluster is a Marathon and the Mesos master that it names.
func cluster(t *testing.T, over routes) (*server, *server) {
	t.Helper()
	z := serve(t, merge(routes{
		"GET /slaves": says(200, string(fixture(t, "slaves.json"))),
		"GET /state":  says(200, string(fixture(t, "state.json"))),
	}, over))
	m := serve(t, merge(routes{
		"GET /v2/apps":        says(200, string(fixture(t, "apps.json"))),
		"GET /v2/deployments": says(200, none),
		"GET /v2/queue":       says(200, `{"queue":[]}`),
		"GET /v2/info":        says(200, strings.Replace(infoBody, "MESOS", z.URL, 1)),
	}, over))
	return m, z
}

func merge(rs, over routes) routes {
	for k, h := range over {
		rs[k] = h
	}
	return rs
}

func TestObserve(t *testing.T) {
	m, z := cluster(t, nil)
	c := client(t, Options{}, m.URL)
	for range 2 {
		om, oz := c.Observe(t.Context())
		if !om.Answered() || !oz.Answered() {
			t.Fatalf("%+v, %+v", om.Source, oz.Source)
		}
		if len(om.Apps) != 2 || len(oz.Agents) != 5 || len(oz.Tasks) != 7 {
			t.Errorf("%d apps, %d agents, %d tasks", len(om.Apps), len(oz.Agents), len(oz.Tasks))
		}
		want := []state.Deployment{{ID: "d1", Apps: []state.AppID{"/todo/db"}}}
		if diff := cmp.Diff(want, om.Deployments); diff != "" {
			t.Errorf("a deployment that only the app names: %s", diff)
		}
	}
	if a, b := len(m.requests()), len(z.requests()); a != 3+1+3 || b != 2+2 {
		t.Errorf("%d calls to Marathon, %d to Mesos: %q", a, b, m.requests())
	}
}

// A source of which one part is silent is unknown as a whole, and says nothing about the other source.
func TestObserveSilence(t *testing.T) {
	html := says(502, `<html><title>Bad Gateway</title></html>`)
	for path, marathonDown := range map[string]bool{
		"/v2/apps": true, "/v2/deployments": true, "/v2/queue": true, "/v2/info": false, "/slaves": false, "/state": false,
	} {
		t.Run(path, func(t *testing.T) {
			m, _ := cluster(t, routes{"GET " + path: html})
			om, oz := client(t, Options{}, m.URL).Observe(t.Context())
			if om.Answered() == marathonDown || oz.Answered() != marathonDown {
				t.Errorf("Marathon %+v, Mesos %+v", om.Source, oz.Source)
			}
			silent := om.Source
			if !marathonDown {
				silent = oz.Source
			}
			contains(t, silent.Err, path, "502 Bad Gateway")
			if silent.At.IsZero() {
				t.Error("no time")
			}
			if marathonDown && (om.Apps != nil || om.Deployments != nil || om.Queue != nil) {
				t.Error("a silent source shows something")
			}
			if !marathonDown && (oz.Agents != nil || oz.Tasks != nil) {
				t.Error("a silent source shows something")
			}
		})
	}
}

func TestMesosIsReadWhileMarathonIsSilent(t *testing.T) {
	_, z := cluster(t, nil)
	om, oz := client(t, Options{MesosURL: z.URL}, closedAddress(t)).Observe(t.Context())
	if om.Answered() || !oz.Answered() || oz.Tasks["killed"] != "killed" {
		t.Errorf("Marathon %+v, Mesos %+v", om.Source, oz)
	}
}

func TestMesosMovesToAnotherMaster(t *testing.T) {
	_, z := cluster(t, nil)
	_, other := cluster(t, nil)
	to := z.URL
	s := serve(t, routes{"GET /v2/info": func(w http.ResponseWriter, r *http.Request) {
		says(200, strings.Replace(infoBody, "MESOS", to, 1))(w, r)
	}})
	c := client(t, Options{}, s.URL)
	if _, oz := c.Observe(t.Context()); !oz.Answered() {
		t.Fatal(oz.Err)
	}
	z.Close()
	to = other.URL
	if _, oz := c.Observe(t.Context()); oz.Answered() {
		t.Fatal("a closed server answered")
	}
	if _, oz := c.Observe(t.Context()); !oz.Answered() {
		t.Errorf("the new master is not found: %s", oz.Err)
	}
}

// The credentials are for Marathon. A master that Marathon names gets them only if it is at the same host, as behind DC/OS's router.
func TestCredentialsForMesos(t *testing.T) {
	var got []string
	note := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.URL.Path+" "+r.Header.Get("Authorization"))
			says(200, body)(w, r)
		}
	}
	agents := string(fixture(t, "slaves.json"))
	var mesosURL string
	router := serve(t, routes{
		"GET /m/v2/info": func(w http.ResponseWriter, r *http.Request) {
			says(200, strings.Replace(infoBody, "MESOS", mesosURL, 1))(w, r)
		},
		"GET /mesos/slaves": note(agents),
	})
	elsewhere := serve(t, routes{"GET /slaves": note(agents)})
	for _, mesosURL = range []string{router.URL + "/mesos", elsewhere.URL} {
		c := client(t, Options{Token: "t"}, router.URL+"/m")
		_, oz := c.Observe(t.Context())
		contains(t, oz.Err, "/state") // which nobody serves here
	}
	c := client(t, Options{Token: "t", MesosURL: strings.Replace(elsewhere.URL, "//", "//u:p@", 1)}, router.URL+"/m")
	c.Observe(t.Context())
	if diff := cmp.Diff([]string{"/mesos/slaves token=t", "/slaves ", "/slaves Basic dTpw"}, got); diff != "" {
		t.Error(diff)
	}
}
