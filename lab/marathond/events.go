package marathond

import (
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// streamBuffer is how many events a slow consumer may lag behind.
const streamBuffer = 1024

// event is one line of the event stream.
type event struct {
	name string
	data []byte
}

// hub hands events to the attached streams. Its own lock lets streams attach and detach while the server works.
type hub struct {
	closeSlow bool // 1.8 and later; before, events were dropped
	mu        sync.Mutex
	streams   map[*stream]bool
	stalled   bool
}

// stream is one attached consumer.
type stream struct {
	remote string
	types  []string
	events chan event
	gone   chan struct{} // closed when the server drops the stream
	once   sync.Once
}

func newHub(v Version) *hub { return &hub{closeSlow: v != V15, streams: map[*stream]bool{}} }

// attach adds a consumer; its own event_stream_attached is the first that it gets.
func (h *hub) attach(remote string, types []string, now time.Time) *stream {
	s := &stream{remote: remote, types: types, events: make(chan event, streamBuffer), gone: make(chan struct{})}
	h.mu.Lock()
	h.streams[s] = true
	h.mu.Unlock()
	h.publish(now, "event_stream_attached", tree{"remoteAddress": remote})
	return s
}

func (h *hub) detach(s *stream, now time.Time) {
	h.mu.Lock()
	delete(h.streams, s)
	h.mu.Unlock()
	h.publish(now, "event_stream_detached", tree{"remoteAddress": s.remote})
}

// publish sends an event to all that want it.
func (h *hub) publish(now time.Time, name string, fields tree) {
	fields["eventType"], fields["timestamp"] = name, stamp(now)
	data, err := json.Marshal(fields)
	if err != nil {
		panic("marathond: an event does not encode: " + err.Error())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		if s.wants(name) {
			h.push(s, event{name, data})
		}
	}
}

func (h *hub) push(s *stream, e event) {
	select {
	case s.events <- e:
	default:
		if h.closeSlow {
			s.close()
		}
	}
}

func (s *stream) wants(name string) bool {
	return len(s.types) == 0 || slices.Contains(s.types, name)
}

func (s *stream) close() { s.once.Do(func() { close(s.gone) }) }

// drop closes every stream.
func (h *hub) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		s.close()
	}
}

// stall makes every stream silent, heartbeats included, or lets them speak again.
func (h *hub) stall(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stalled = on
}

func (h *hub) silent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stalled
}
