package todo

// Loss is an acknowledged to-do that is not in the list as it should be.
type Loss struct {
	Entry
	// What says what is wrong with it.
	What string
}

// Compare returns every entry of the ledger that is not in the list exactly once, with its title.
func Compare(ledger []Entry, list []Todo) []Loss {
	byID, byTitle := map[string][]Todo{}, map[string]int{}
	for _, t := range list {
		byID[t.ID] = append(byID[t.ID], t)
		byTitle[t.Title]++
	}
	var losses []Loss
	for _, e := range ledger {
		if what := judge(e, byID[e.ID], byTitle[e.Title]); what != "" {
			losses = append(losses, Loss{Entry: e, What: what})
		}
	}
	return losses
}

func judge(e Entry, found []Todo, sameTitle int) string {
	switch {
	case len(found) == 0:
		return "missing"
	case len(found) > 1 || sameTitle > 1:
		return "there more than once"
	case found[0].Title != e.Title:
		return "has another title: " + found[0].Title
	}
	return ""
}
