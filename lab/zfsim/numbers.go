package zfsim

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// nice formats bytes as OpenZFS does: at most five characters, with a binary unit.
func nice(n uint64) string {
	return niceUnit(n, [...]string{"B", "K", "M", "G", "T", "P", "E"})
}

func niceUnit(n uint64, units [7]string) string {
	index, whole := 0, n
	for whole >= 1024 && index < len(units)-1 {
		whole /= 1024
		index++
	}
	if index == 0 || n%(1<<(10*index)) == 0 {
		return strconv.FormatUint(whole, 10) + units[index]
	}
	val := float64(n) / math.Pow(1024, float64(index))
	for prec := 2; prec >= 0; prec-- {
		if s := strconv.FormatFloat(val, 'f', prec, 64) + units[index]; len(s) <= 5 {
			return s
		}
	}
	return strconv.FormatFloat(val, 'f', 0, 64) + units[index]
}

// parseBytes reads a size with an optional unit.
func parseBytes(s string) (uint64, bool) {
	if s == "none" {
		return 0, true
	}
	digits := strings.TrimRight(strings.ToUpper(s), "BKMGTPEI")
	shift, ok := unitShift(strings.ToUpper(s[len(digits):]))
	f, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || f < 0 || f > math.Pow(2, 63-float64(shift)) {
		return 0, false
	}
	if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
		return n << shift, true
	}
	return uint64(f * float64(uint64(1)<<shift)), true
}

func unitShift(unit string) (uint, bool) {
	if unit == "" || unit == "B" {
		return 0, true
	}
	i := strings.IndexByte("KMGTPE", unit[0])
	rest := unit[1:]
	return uint(10 * (i + 1)), i >= 0 && (rest == "" || rest == "B" || rest == "IB")
}

func niceTime(sec int64) string { return time.Unix(sec, 0).Format("Mon Jan _2 15:04 2006") }

// plural of the elapsed time in "received ... in".
func (m *machine) elapsed(d time.Duration) (string, float64) {
	if m.old {
		s := max(1, int(d.Seconds()+0.5))
		return fmt.Sprintf("%d seconds", s), float64(s)
	}
	return fmt.Sprintf("%.2f seconds", d.Seconds()), d.Seconds()
}
