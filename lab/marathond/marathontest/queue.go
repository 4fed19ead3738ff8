package marathontest

var queueTests = map[string]func(*client){
	"Unplaceable": unplaceable,
	"BackOff":     backOff,
	"BackOffEnds": backOffEnds,
	"UnknownApp":  unknownInQueue,
}

// queued is the queue's entry of the app "a", nil if there is none.
func (c *client) queued() any {
	c.Helper()
	list, isList := c.want(200, "GET", "/v2/queue?embed=lastUnusedOffers", nil).get("queue").([]any)
	if !isList {
		c.Fatal("queue is not a list")
	}
	for _, q := range list {
		if dig(q, "app", "id") == c.id("a") {
			return q
		}
	}
	return nil
}

var reasons = []string{
	"UnfulfilledRole", "UnfulfilledConstraint", "NoCorrespondingReservationFound", "AgentMaintenance", "InsufficientCpus", "InsufficientMemory",
	"InsufficientDisk", "InsufficientGpus", "InsufficientPorts", "DeclinedScarceResources",
}

func unplaceable(c *client) {
	c.createStuck("a")
	c.await("offers were refused", func() bool {
		n, _ := dig(c.queued(), "processedOffersSummary", "unusedOffersCount").(float64)
		return n > 0
	})
	q := c.queued()
	c.equal("count", dig(q, "count"), 1)
	c.equal("overdue", dig(q, "delay", "overdue"), true)
	summary, _ := dig(q, "processedOffersSummary", "rejectSummaryLastOffers").([]any)
	if len(summary) != len(reasons) {
		c.Fatalf("reject summary %v", summary)
	}
	left := dig(summary, 0, "processed").(float64)
	for n, r := range reasons {
		c.equal("reason", dig(summary, n, "reason"), r)
		c.equal(r+" processed", dig(summary, n, "processed"), left)
		left -= dig(summary, n, "declined").(float64)
	}
	if dig(summary, 1, "declined").(float64) < 1 {
		c.Errorf("nobody was declined for the constraint: %v", summary)
	}
	if dig(q, "lastUnusedOffers", 0, "offer", "hostname") == nil {
		c.Errorf("lastUnusedOffers %v", dig(q, "lastUnusedOffers"))
	}
}

func backOff(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", object{"cmd": "exit 1", "backoffSeconds": 3600, "maxLaunchDelaySeconds": 3600}))
	c.await("it is held back", func() bool { return dig(c.queued(), "delay", "overdue") == false })
	if s, _ := dig(c.queued(), "delay", "timeLeftSeconds").(float64); s <= 0 {
		c.Errorf("timeLeftSeconds %v", s)
	}
	c.want(204, "DELETE", "/v2/queue"+c.id("a")+"/delay", nil)
}

// backOffEnds: scaling keeps the delay, a changed configuration ends it.
func backOffEnds(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", object{"cmd": "exit 1", "backoffSeconds": 3600, "maxLaunchDelaySeconds": 3600}))
	heldBack := func() bool { return dig(c.queued(), "delay", "overdue") == false }
	c.await("it is held back", heldBack)
	c.want(200, "PUT", c.path("a")+"?force=true", object{"instances": 2})
	if !heldBack() {
		c.Errorf("scaling ended the delay: %v", c.queued())
	}
	c.over(c.want(200, "PUT", c.path("a")+"?force=true", object{"cmd": "exec sleep 1000"}).get("deploymentId"))
	c.equal("running", c.want(200, "GET", c.path("a"), nil).get("app", "tasksRunning"), 2)
}

func unknownInQueue(c *client) {
	r := c.want(404, "DELETE", "/v2/queue"+c.id("a")+"/delay", nil)
	c.equal("message", r.get("message"), "Application "+c.id("a")+" not found in tasks queue.")
}
