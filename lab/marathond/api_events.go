package marathond

import (
	"net/http"
	"time"
)

// serveEvents is the event stream: frames end in CRLF, a bare CRLF is the heartbeat.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Accept") != "text/event-stream" {
		s.write(w, r, nil, wrongMethod())
		return
	}
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream;charset=utf-8")
	w.Header().Set("Connection", "close")
	st := s.hub.attach(r.RemoteAddr, r.URL.Query()["event_type"], time.Now())
	defer func() { s.hub.detach(st, time.Now()) }()
	w.WriteHeader(http.StatusOK)
	if err := out.Flush(); err != nil {
		return
	}
	beat := time.NewTicker(s.opt.Timing.Heartbeat)
	defer beat.Stop()
	for {
		text := "\r\n"
		select {
		case <-r.Context().Done():
			return
		case <-st.gone:
			return
		case e := <-st.events:
			text = "event: " + e.name + "\r\ndata: " + string(e.data) + "\r\n\r\n"
		case <-beat.C:
		}
		if s.hub.silent() {
			continue
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
	}
}
