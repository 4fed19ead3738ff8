package manifest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/drover-project/drover/state/manifest"
)

// A large cluster's set in one file: 5,000 apps with two volumes each.
func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, `---
apiVersion: drover/v1
kind: App
metadata: {name: /app/a%[1]d}
spec:
  volumes:
  - {name: data-%[1]d, containerPath: data}
  - {name: logs-%[1]d, containerPath: logs}
  placement: {constraints: [[disk, CLUSTER, ssd]]}
  marathon: {cmd: exec run, cpus: 0.1, mem: 128, env: {A: b}}
---
apiVersion: drover/v1
kind: Volume
metadata: {name: data-%[1]d}
spec: {quota: 10Gi, properties: {recordsize: 16K}}
---
apiVersion: drover/v1
kind: Volume
metadata: {name: logs-%[1]d}
spec: {quota: 1Gi}
`, i)
	}
	file := manifest.File{Name: "set.yaml", Data: []byte(text.String())}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := manifest.Parse(file); err != nil {
			b.Fatal(err)
		}
	}
}
