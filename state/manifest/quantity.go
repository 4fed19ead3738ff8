package manifest

import (
	"fmt"
	"math/big"
	"regexp"
	"time"
)

// duration reads a span of time of at least least; one that is not given, or whose form was refused, is otherwise.
func (d *document) duration(field string, text Duration, least, otherwise time.Duration) time.Duration {
	if text == "" {
		return otherwise
	}
	v, err := time.ParseDuration(string(text))
	switch {
	case err != nil && days.MatchString(string(text)):
		d.problem(field, "is %q: want hours at most, such as 24h for a day", text)
	case err != nil:
		d.problem(field, "is %q: want a number with a unit, such as 500ms, 30s, 5m or 24h", text)
	case v < least:
		d.problem(field, "is %q: want %v or more", text, least)
	}
	return v
}

var (
	days     = regexp.MustCompile(`^[0-9.]+ ?(d|days?|w|weeks?)$`)
	quantity = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)$`)
	likeSize = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kKmMgGtTpPeE])([iI]?)[bB]?$`)
)

var units = map[string]*big.Int{"": big.NewInt(1)}

func init() {
	decimal, binary := big.NewInt(1), big.NewInt(1)
	for _, letter := range []string{"k", "M", "G", "T", "P", "E"} {
		decimal = new(big.Int).Mul(decimal, big.NewInt(1000))
		binary = new(big.Int).Lsh(binary, 10)
		units[letter] = decimal
		units[upperK(letter)+"i"] = binary
	}
}

func upperK(letter string) string {
	if letter == "k" {
		return "K"
	}
	return letter
}

// leastQuota is what a quota below is surely a forgotten unit.
const leastQuota = 1 << 20

// bytes64 reads a quantity as Kubernetes writes it.
func bytes64(text string) (int64, error) {
	m := quantity.FindStringSubmatch(text)
	if m == nil || len(text) > 40 {
		return 0, fmt.Errorf("is %q: want %s", text, likely(text))
	}
	n, ok := new(big.Rat).SetString(m[1])
	if !ok {
		return 0, fmt.Errorf("is %q: want a number of bytes, such as 10Gi", text)
	}
	n.Mul(n, new(big.Rat).SetInt(units[m[2]]))
	switch {
	case !n.IsInt():
		return 0, fmt.Errorf("is %q, which is not a whole number of bytes", text)
	case !n.Num().IsInt64():
		return 0, fmt.Errorf("is %q: want less than 8Ei", text)
	}
	return n.Num().Int64(), nil
}

// likely returns the quantity that a misspelt one was meant to be.
func likely(text string) string {
	m := likeSize.FindStringSubmatch(text)
	if m == nil {
		return "a number of bytes, such as 500M, 10Gi or 1.5Ti"
	}
	letter := string(m[2][0] &^ 0x20) // upper case
	decimal := letter
	if letter == "K" {
		decimal = "k"
	}
	if m[3] != "" {
		return m[1] + letter + "i"
	}
	return fmt.Sprintf("%s%si (powers of 1024) or %s%s (powers of 1000)", m[1], letter, m[1], decimal)
}
