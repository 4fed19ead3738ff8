package agent

import (
	"sync"
	"testing"

	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
)

// Streams of different volumes run side by side, each on a connection of its own: neither waits for the other's lock.
func TestStreamsOfTwoVolumesRunSideBySide(t *testing.T) {
	h := pair(t)
	other := handover{v: volume{name: "other", lead: "other", uuid: "0b0b0b0b-1111-2222-3333-444444444444"}, from: h.from, to: h.to, e: h.e, next: h.next}
	other.from.create(other.v)
	other.from.fill(other.v, "big", 8<<20)
	h.from.slow()
	var both sync.WaitGroup
	for _, one := range []handover{h, other} {
		step := one.replicateStep()
		both.Go(func() {
			if _, err := one.from.try(step); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "both are under way", func() bool {
		s := h.from.streams()
		return len(s) == 2 && underWay(s[0]) && underWay(s[1])
	})
	h.from.faults(zfsim.Faults{})
	both.Wait()
	for _, one := range []handover{h, other} {
		if got, want := one.to.copy(one.v).Newest(), one.from.copy(one.v).Newest(); got == nil || got.GUID != want.GUID {
			t.Errorf("%s: %v arrived, want %v", one.v.name, got, want)
		}
	}
}

func underWay(s state.Stream) bool { return s.Bytes > 0 && s.Bytes < s.Total }
