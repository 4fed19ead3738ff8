package agent

import (
	"io"
	"os/exec"
	"testing"

	"github.com/drover-project/drover/state"
)

const benchSize = 128 << 20

// BenchmarkStream compares a stream through two agents, with TLS, with a plain pipe between the same two commands.
func BenchmarkStream(b *testing.B) {
	b.Run("pipe", func(b *testing.B) {
		h := benchPair(b)
		h.from.zfs("snapshot", "tank/drover/tododata@drover-0.2-0")
		b.SetBytes(benchSize)
		for b.Loop() {
			pipeOnce(b, h)
			b.StopTimer()
			h.to.zfs("destroy", "-r", "tank/piped")
			b.StartTimer()
		}
	})
	b.Run("agents", func(b *testing.B) {
		h := benchPair(b)
		h.from.zfs("snapshot", "tank/drover/tododata@drover-0.2-0")
		b.SetBytes(benchSize)
		for b.Loop() {
			h.replicate()
			b.StopTimer()
			h.to.zfs("release", "drover", "tank/drover/tododata@drover-0.2-0")
			h.to.zfs("destroy", "-r", "tank/drover/tododata")
			b.StartTimer()
		}
	})
}

func benchPair(b *testing.B) handover {
	b.Helper()
	bench := newBench(b)
	h := handover{v: todo, from: bench.node("node1"), to: bench.node("node2"), e: "0.1", next: "0.2"}
	s := h.from.step(state.CreateVolume, h.v, "", "")
	s.Epoch = epoch(b, "0.1")
	h.from.do(s)
	h.from.fill(h.v, "big", benchSize)
	return h
}

func pipeOnce(b *testing.B, h handover) {
	b.Helper()
	send := exec.Command(h.from.machine.Bin+"/zfs", "send", sendFlags, "tank/drover/tododata@drover-0.2-0")
	receive := exec.Command(h.to.machine.Bin+"/zfs", "receive", "-s", "-u", "-o", "readonly=on", "-o", "canmount=noauto", "tank/piped")
	send.Env, receive.Env = h.from.machine.Env, h.to.machine.Env
	out, err := send.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	receive.Stdin = out.(io.Reader)
	for _, cmd := range []*exec.Cmd{send, receive} {
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
	}
	for _, cmd := range []*exec.Cmd{receive, send} {
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
