package manifest

import (
	"fmt"
	"path"
	"strings"

	"github.com/drover-project/drover/state"
)

// checkTogether checks what only the whole set can tell.
func (s *set) checkTogether() {
	if len(s.apps) == 0 && len(s.volumes) == 0 && len(s.problems) == 0 {
		s.add(Problem{Message: "the set has no App and no Volume: an empty set is refused, it is never read as a wish to remove everything"})
	}
	apps := s.checkAppNames()
	volumes := s.checkVolumeNames()
	s.checkGroups(apps)
	s.checkUse(volumes)
	s.checkAdoptions()
	s.checkAddresses()
	s.checkHostPaths(volumes)
}

func (s *set) checkAppNames() map[state.AppID]*appDocument {
	byName := map[state.AppID]*appDocument{}
	for _, a := range s.apps {
		first, twice := byName[a.out.ID]
		switch {
		case a.out.ID == "":
		case twice:
			a.problem("metadata.name", "is %q, as of the App at %s: want one App for each name", a.out.ID, first.where())
		default:
			byName[a.out.ID] = a
		}
	}
	return byName
}

func (s *set) checkVolumeNames() map[state.VolumeName]*volumeDocument {
	byName := map[state.VolumeName]*volumeDocument{}
	for _, v := range s.volumes {
		first, twice := byName[v.out.Name]
		switch {
		case v.out.Name == "":
		case twice:
			v.problem("metadata.name", "is %q, as of the Volume at %s: want one Volume for each name", v.out.Name, first.where())
		default:
			byName[v.out.Name] = v
		}
	}
	return byName
}

// checkGroups finds apps that lie inside another: in Marathon apps and groups share one tree.
func (s *set) checkGroups(apps map[state.AppID]*appDocument) {
	for _, a := range s.apps {
		for dir := path.Dir(string(a.out.ID)); len(dir) > 1; dir = path.Dir(dir) {
			if outer, ok := apps[state.AppID(dir)]; ok {
				a.problem("metadata.name", "is %q, inside the app %q (%s): Marathon takes %s for a group or an app, not both", a.out.ID, dir, outer.where(), dir)
			}
		}
	}
}

// checkUse checks that every volume of an app is declared, and that no other app uses it.
func (s *set) checkUse(volumes map[state.VolumeName]*volumeDocument) {
	user := map[state.VolumeName]*appDocument{}
	for _, a := range s.apps {
		for i, m := range a.out.Volumes {
			if m.Volume == "" {
				continue
			}
			at := fmt.Sprintf("spec.volumes[%d].name", i)
			if _, declared := volumes[m.Volume]; !declared && !s.partial {
				a.problem(at, "is %q, for which there is no Volume document%s", m.Volume, alternative(string(m.Volume), volumes))
			}
			if other, used := user[m.Volume]; used && other != a {
				a.problem(at, "is %q, which %s uses already (%s): want a volume of its own for each app", m.Volume, other.out.ID, other.where())
			} else {
				user[m.Volume] = a
			}
		}
	}
}

func alternative(name string, volumes map[state.VolumeName]*volumeDocument) string {
	var known []string
	for v := range volumes {
		known = append(known, string(v))
	}
	if best := nearest(name, known); best != "" {
		return fmt.Sprintf("; did you mean %s?", best)
	}
	return fmt.Sprintf(": want one with kind: Volume and metadata.name: %s", name)
}

func (s *set) checkAdoptions() {
	first := map[string]*volumeDocument{}
	for _, v := range s.volumes {
		other, twice := first[v.out.Adopt]
		switch {
		case v.out.Adopt == "":
		case twice:
			v.problem("spec.adopt", "is %q, which volume %s takes over already (%s): want one volume for each dataset", v.out.Adopt, other.out.Name, other.where())
		default:
			first[v.out.Adopt] = v
		}
	}
}

// checkAddresses finds endpoints that would listen on one address and port.
func (s *set) checkAddresses() {
	type listener struct {
		address string
		port    int
	}
	first := map[listener]*appDocument{}
	for _, a := range s.apps {
		for i, e := range a.out.Endpoints {
			at := listener{e.Address, e.Port}
			other, twice := first[at]
			switch {
			case e.Address == "" || e.Port == 0:
			case twice:
				a.problem(fmt.Sprintf("spec.endpoints[%d]", i), "listens on %s port %d, as does %s (%s): want another address or port", e.Address, e.Port, other.out.ID, other.where())
			default:
				first[at] = a
			}
		}
	}
}

// checkHostPaths finds apps that reach into a volume past Drover. Where volumes are mounted is each node's own setting; what
// can be told here is a path through a folder named drover, which is the default, to a volume of this set.
func (s *set) checkHostPaths(volumes map[state.VolumeName]*volumeDocument) {
	for _, a := range s.apps {
		paths := a.hostPaths()
		for _, field := range names(paths) {
			if v := volumeIn(paths[field], volumes); v != "" {
				a.problem(field, "is %q, inside volume %s: want an entry in spec.volumes of the one app that uses it", paths[field], v)
			}
		}
	}
}

func volumeIn(hostPath string, volumes map[state.VolumeName]*volumeDocument) state.VolumeName {
	parts := strings.Split(path.Clean(hostPath), "/")
	for i := 1; i < len(parts); i++ {
		name := state.VolumeName(parts[i])
		if _, ok := volumes[name]; ok && parts[i-1] == "drover" {
			return name
		}
	}
	return ""
}
