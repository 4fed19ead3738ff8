package agent

import (
	"encoding/binary"
	"io"
	"slices"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
)

func TestWhatIsCompressedOnItsWay(t *testing.T) {
	for name, c := range map[string]struct {
		part *state.Copy
		want bool
	}{
		"plain blocks":      {&state.Copy{}, true},
		"compressed blocks": {&state.Copy{Filesystem: state.Filesystem{Compressed: true}}, false},
		"encrypted blocks":  {&state.Copy{Filesystem: state.Filesystem{Encrypted: true}}, false},
		"a child's blocks":  {(&state.Copy{Children: []state.Child{{Path: "logs", Filesystem: state.Filesystem{Compressed: true}}}}).Part("logs"), false},
		"nothing":           {nil, false},
	} {
		if got := compressible(c.part); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A target says which codecs it understands, and takes a stream that is encoded by one of them.
func TestEncodedStreamIsReceived(t *testing.T) {
	h := pair(t)
	whole, q := h.offered()
	s := h.from.sender()
	err := s.give(h.to, q, func(w io.WriteCloser) {
		if got := w.(*outConn).codecs; !slices.Equal(got, stream.ParseCodecs(stream.Understood())) || len(got) == 0 {
			t.Errorf("the target understands %v", got)
		}
		for piece := range slices.Chunk([]byte(whole), stream.ChunkSize/8) {
			payload := s2.Encode(nil, piece)
			wire := append(binary.BigEndian.AppendUint32([]byte{byte(stream.S2)}, uint32(len(payload))), payload...)
			if _, err := w.Write(wire); err != nil {
				t.Error(err)
			}
		}
		end := binary.BigEndian.AppendUint64([]byte{'e', 0, 0, 0, 8}, uint64(len(whole))) // of the data itself
		if _, err := w.Write(end); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.to.client.Copy(t.Context(), h.to.addr(), h.v.uuid)
	if err != nil || got.Find(q.To) == nil {
		t.Errorf("%+v, %v", got, err)
	}
}
