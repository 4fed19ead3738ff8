package zfsim

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkSendReceive pipes one big file from send to receive; the pace of the disk under TMPDIR counts.
func BenchmarkSendReceive(b *testing.B) {
	const size = 256 << 20
	bin := Build(b)
	m := NewMachine(b, bin, "tank", 4<<30)
	run := func(args ...string) {
		if _, err := m.Run(args[0], args[1:]...); err != nil {
			b.Fatal(err)
		}
	}
	run("zfs", "create", "tank/v")
	if err := os.WriteFile(filepath.Join(m.Mounts, "v", "f"), random(size, 1), 0o600); err != nil {
		b.Fatal(err)
	}
	run("zfs", "snapshot", "tank/v@1")
	b.SetBytes(size)
	for b.Loop() {
		if err := pipe(m, []string{"send", "tank/v@1"}, []string{"receive", "-u", "tank/copy"}); err != nil {
			b.Fatal(err)
		}
		run("zfs", "destroy", "-r", "tank/copy")
	}
}

// BenchmarkSend reads one big file out, to nowhere.
func BenchmarkSend(b *testing.B) {
	const size = 256 << 20
	m := NewMachine(b, Build(b), "tank", 2<<30)
	if _, err := m.Run("zfs", "create", "tank/v"); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Mounts, "v", "f"), random(size, 1), 0o600); err != nil {
		b.Fatal(err)
	}
	if _, err := m.Run("zfs", "snapshot", "tank/v@1"); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		if err := pipe(m, []string{"send", "tank/v@1"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList measures one start of the program.
func BenchmarkList(b *testing.B) {
	m := NewMachine(b, Build(b), "tank", 1<<30)
	for b.Loop() {
		if _, err := m.Run("zfs", "list", "-Hp"); err != nil {
			b.Fatal(err)
		}
	}
}
