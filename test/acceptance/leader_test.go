package acceptance

import (
	"strings"
	"testing"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/test/cluster"
)

// A second controller waits, does nothing, and goes on when the first one ends.
func TestLeadershipIsHandedOver(t *testing.T) {
	t.Parallel()
	c, first := begin(t, cluster.Options{})
	term := c.Status().Term
	waiting := make(chan string, 1)
	second := c.Lead(func(e controller.Event) {
		if e.Kind == controller.EventWaiting {
			waiting <- e.Text
		}
	})
	if text := <-waiting; !strings.Contains(text, "leads (term ") {
		t.Errorf("the second one says %q", text)
	}
	c.Write("db.yaml", onSSD().YAML())
	c.AwaitOn("data", "node2")
	if steps := second.Steps("/db"); len(steps) > 0 || len(first.Steps("/db")) == 0 {
		t.Errorf("the first one did %q, the second one, which does not lead, %q", first.Steps("/db"), steps)
	}
	first.Stop()
	c.Write("db.yaml", db().YAML())
	c.AwaitOn("data", "node1")
	if len(second.Steps("/db")) == 0 || c.Status().Term <= term {
		t.Errorf("the second one did %q at term %d, after term %d", second.Steps("/db"), c.Status().Term, term)
	}
	written(c, "/db")
}
