package zfs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkCopies reads a thousand copies of three snapshots each, one of them held. The commands print files, so that it
// measures starting them and reading their output, not OpenZFS.
func BenchmarkCopies(b *testing.B) {
	var p pool
	var names, props, snaps, holds strings.Builder
	for i := range 1000 {
		dataset := fmt.Sprintf("tank/drover/volume-%04d", i)
		fmt.Fprintf(&names, "%s\tvolume-%04d\n", dataset, i)
		props.WriteString(printed(dataset, standbyProps()))
		for s := range 3 {
			fmt.Fprintf(&snaps, "%s@s%d\t%d\t%d\t1795361309\t24576\t%d\n", dataset, s, 1_000_000*i+s+1, i+s, s/2)
		}
		fmt.Fprintf(&holds, "%s@s2\tdrover:base\tSun Nov 22 15:28 2026\n", dataset)
	}
	p.names, p.props, p.snaps, p.holds = names.String(), props.String(), snaps.String(), holds.String()
	z, _ := p.fake(b, func(s string) (*ZFS, string) { return fake(b, s) })
	b.SetBytes(int64(len(p.names) + len(p.props) + len(p.snaps) + len(p.holds)))
	for b.Loop() {
		got, err := z.Copies(b.Context(), "tank/drover")
		if err != nil || len(got) != 1000 || !got[999].Snapshots[2].Held {
			b.Fatalf("%d copies, %v", len(got), err)
		}
	}
}

const streamed = 1 << 30

// BenchmarkSend reads a stream of 1 GiB of zeros as an agent would, with a buffer of 1 MiB.
func BenchmarkSend(b *testing.B) {
	z, _ := fake(b, fmt.Sprintf("exec head -c %d /dev/zero", streamed))
	b.SetBytes(streamed)
	buf := make([]byte, pipeSize)
	for b.Loop() {
		s, err := z.Send(b.Context(), full)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, buf)
		if err != nil || n != streamed || s.Close() != nil {
			b.Fatalf("%d bytes, %v", n, err)
		}
	}
}

// BenchmarkSendReceive carries the same stream from one command to another, through this process.
func BenchmarkSendReceive(b *testing.B) {
	z, _ := fake(b, fmt.Sprintf(`case $1 in send) exec head -c %d /dev/zero;; esac; exec cat >/dev/null`, streamed))
	b.SetBytes(streamed)
	for b.Loop() {
		s, err := z.Send(b.Context(), full)
		if err != nil {
			b.Fatal(err)
		}
		if err := z.Receive(b.Context(), standbyV, s); err != nil || s.Close() != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkShellPipe is the same without this process, to compare with.
func BenchmarkShellPipe(b *testing.B) {
	z, dir := fake(b, fmt.Sprintf("head -c %d /dev/zero | cat >/dev/null", streamed))
	b.SetBytes(streamed)
	for b.Loop() {
		if err := z.Sync(b.Context(), "tank"); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "argv")); err != nil {
		b.Fatal(err)
	}
}
