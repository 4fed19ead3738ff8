package manifest

import (
	"regexp"
	"slices"
	"strings"

	"github.com/drover-project/drover/state"
)

const maxVolumeName = 60 // leaves room for the pool, the suffixes of copies put aside, and snapshots in ZFS's 255 bytes

var (
	volumeName  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	datasetName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.:-]*(/[A-Za-z0-9_.:-]+)+$`)
)

func (v *volumeDocument) check() {
	spec := v.volume.Spec
	v.out = state.Volume{
		Name:       state.VolumeName(v.volume.Metadata.Name),
		Reclaim:    v.reclaim(spec.Reclaim),
		Properties: spec.Properties,
		Adopt:      spec.Adopt,
		Where:      v.position(),
	}
	if v.out.Name != "" {
		v.checkVolumeName("metadata.name", string(v.out.Name))
	}
	v.out.Quota = v.quota(spec.Quota)
	v.checkProperties(spec.Properties)
	v.checkAdopt(spec.Adopt)
}

func (d *document) checkVolumeName(field, name string) {
	switch {
	case !volumeName.MatchString(name):
		d.problem(field, "is %q: want lower case letters, digits, '-', '_' and '.', the first one a letter or digit", name)
	case len(name) > maxVolumeName:
		d.problem(field, "has %d characters: want at most %d", len(name), maxVolumeName)
	case strings.Contains(name, ".aside-") || strings.Contains(name, ".trash-"):
		d.problem(field, "is %q: names with .aside- and .trash- are those of copies that Drover has put aside", name)
	}
}

func (v *volumeDocument) quota(text Quantity) int64 {
	if text == "" {
		return 0
	}
	n, err := bytes64(string(text))
	switch {
	case err != nil:
		v.problem("spec.quota", "%v", err)
	case n == 0:
		v.problem("spec.quota", "is 0: leave it out for no quota")
	case n < leastQuota:
		v.problem("spec.quota", "is %s, which is %d bytes: want 1Mi or more (is the unit missing?)", text, n)
	}
	return n
}

func (v *volumeDocument) reclaim(word string) state.Reclaim {
	if word == "" {
		return state.Retain
	}
	if policies := []string{string(state.Retain), string(state.Delete)}; !slices.Contains(policies, word) {
		v.problem("spec.reclaim", "is %q%s", word, suggest(word, policies))
	}
	return state.Reclaim(word)
}

func (v *volumeDocument) checkAdopt(dataset string) {
	if dataset != "" && (!datasetName.MatchString(dataset) || len(dataset) > 255) {
		v.problem("spec.adopt", "is %q: want a dataset below a pool, such as tank/mongo", dataset)
	}
}
