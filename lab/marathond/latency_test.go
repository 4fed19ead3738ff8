package marathond

import "testing"

// BenchmarkStopAndStart is the floor that the lab adds to an outage: scale to 0, wait, scale to 1, wait.
func BenchmarkStopAndStart(b *testing.B) {
	c := start(b)
	c.must("POST", "/v2/apps", sleeper("/db", nil))
	c.deployed()
	for b.Loop() {
		c.must("PUT", "/v2/apps/db", tree{"instances": 0})
		c.deployed()
		c.must("PUT", "/v2/apps/db", tree{"instances": 1})
		c.deployed()
	}
}
