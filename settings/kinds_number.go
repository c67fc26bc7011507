package settings

import (
	"fmt"
	"math"
	"strconv"
)

// count is a whole number from 1.
func count(env, def, doc string, high int, at func(*Settings) *int) Setting {
	return whole(env, def, doc, 1, high, at)
}

// countOrNone is a whole number from 0, which turns off what is counted.
func countOrNone(env, def, doc string, high int, at func(*Settings) *int) Setting {
	return whole(env, def, doc, 0, high, at)
}

func whole(env, def, doc string, low, high int, at func(*Settings) *int) Setting {
	allowed := fmt.Sprintf("%d to %d", low, high)
	return Setting{Env: env, Default: def, Doc: doc, Allowed: allowed, set: func(s *Settings, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < low || n > high {
			return fmt.Errorf("a whole number, %s", allowed)
		}
		*at(s) = n
		return nil
	}}
}

// rate is so many a second, not necessarily whole.
func rate(env, def, doc string, low, high float64, at func(*Settings) *float64) Setting {
	allowed := fmt.Sprintf("%v to %v", low, high)
	return fraction(env, def, doc, allowed, func(f float64) bool { return f >= low && f <= high }, at)
}

// rateOrNone is rate, or 0 for no bound. Between 0 and low is nothing: it would
// be a wait of hours that looks like a stop.
func rateOrNone(env, def, doc string, low, high float64, at func(*Settings) *float64) Setting {
	allowed := fmt.Sprintf("0, or %v to %v", low, high)
	return fraction(env, def, doc, allowed, func(f float64) bool { return f == 0 || f >= low && f <= high }, at)
}

func fraction(env, def, doc, allowed string, ok func(float64) bool, at func(*Settings) *float64) Setting {
	return Setting{Env: env, Default: def, Doc: doc, Allowed: allowed, set: func(s *Settings, v string) error {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(f) || !ok(f) {
			return fmt.Errorf("a number, %s", allowed)
		}
		*at(s) = math.Abs(f) // -0 is 0
		return nil
	}}
}
