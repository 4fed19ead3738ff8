package todo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestPageInBrowser uses the page in a real browser, with a move of the database in the middle.
func TestPageInBrowser(t *testing.T) {
	browser := findBrowser(t)
	dir := t.TempDir()
	db := startDB(t, dir, "127.0.0.1:0", "node1")
	// Impatient, so that the page itself has to wait and ask again.
	web := &Web{DB: NewClient("http://"+db.addr, 10*time.Millisecond, webAttempt), Node: "node3", Log: quiet()}
	done := make(chan []string, 1)
	mux := http.NewServeMux()
	mux.Handle("/", web.routes())
	mux.HandleFunc("GET /drive", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, "testdata/drive.html")
	})
	mux.HandleFunc("POST /drive/stop", func(http.ResponseWriter, *http.Request) { db.stop() })
	mux.HandleFunc("POST /drive/start", func(http.ResponseWriter, *http.Request) {
		startDB(t, dir, db.addr, "node2")
	})
	mux.HandleFunc("POST /drive/done", func(w http.ResponseWriter, r *http.Request) {
		failures := []string{"no report"}
		if err := json.NewDecoder(r.Body).Decode(&failures); err != nil {
			failures = append(failures, err.Error())
		}
		done <- failures
	})
	front := httptest.NewServer(mux)
	defer front.Close()
	openPage(t, browser, front.URL+"/drive")
	select {
	case failures := <-done:
		for _, f := range failures {
			t.Error(f)
		}
	case <-time.After(3 * deadline):
		t.Fatal("the browser did not report in time")
	}
}

func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no chromium here: hack/deps.sh browser installs it")
	return ""
}

// openPage starts the browser without a window. Its processes are one group, which ends with the test.
func openPage(t *testing.T, browser, url string) {
	t.Helper()
	profile, err := os.MkdirTemp("", "todo-browser")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--user-data-dir="+profile, "--remote-debugging-port=0", url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // ended already is as good
		_ = cmd.Wait()                                      // says only that it was killed
		_ = os.RemoveAll(profile)                           // a last process of it may still write there
	})
}
