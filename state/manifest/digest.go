package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/drover-project/drover/state"
)

// digest returns a hash over what the set means: without positions, with keys in order and numbers in one form.
func digest(d state.Desired) (string, error) {
	d.Digest, d.Apps, d.Volumes = "", maps.Clone(d.Apps), maps.Clone(d.Volumes)
	for id, a := range d.Apps {
		def, err := canonical(a.Definition)
		if err != nil {
			return "", fmt.Errorf("digest of %s: %w", id, err)
		}
		a.Definition, a.Where = def, state.Position{}
		d.Apps[id] = a
	}
	for name, v := range d.Volumes {
		v.Where = state.Position{}
		if len(v.Properties) == 0 {
			v.Properties = nil
		}
		d.Volumes[name] = v
	}
	text, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("digest of the manifests: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

func canonical(text json.RawMessage) (json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	return jsonText(canonicalTree(tree))
}

func canonicalTree(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = canonicalTree(v[k])
		}
	case []any:
		for i := range v {
			v[i] = canonicalTree(v[i])
		}
	case json.Number:
		return canonicalNumber(v)
	}
	return v
}

// canonicalNumber writes a number as digits without zeros at either end, and an exponent: 0.10, 0.1 and 1e-1 are one.
func canonicalNumber(n json.Number) json.Number {
	mantissa, power, _ := strings.Cut(strings.ToLower(n.String()), "e")
	exponent := 0
	if power != "" {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil {
			return n // an exponent beyond all use: as it was written
		}
	}
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	short := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(short) - len(fraction)
	sign := ""
	if negative {
		sign = "-"
	}
	return json.Number(fmt.Sprintf("%s%se%d", sign, short, exponent))
}
