package marathond

import (
	"os"
	"testing"
	"time"

	"github.com/drover-project/drover/lab/marathond/marathontest"
)

// One server serves the whole suite, as a real one would.
func TestConformance(t *testing.T) {
	for _, v := range []Version{V15, V18, V111} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			c := start(t, func(o *Options) { o.Emulate = v })
			target := marathontest.At(c.s.URL())
			target.Patience = 20 * time.Second
			marathontest.Run(t, target)
		})
	}
}

// DROVER_TEST_MARATHON holds a real Marathon to the same suite.
func TestConformanceOfRealMarathon(t *testing.T) {
	url := os.Getenv("DROVER_TEST_MARATHON")
	if url == "" {
		t.Skip("DROVER_TEST_MARATHON is not set")
	}
	target := marathontest.At(url)
	target.Patience = 2 * time.Minute
	target.User, target.Password = os.Getenv("DROVER_TEST_MARATHON_USER"), os.Getenv("DROVER_TEST_MARATHON_PASSWORD")
	marathontest.Run(t, target)
}
