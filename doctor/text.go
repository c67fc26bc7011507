package doctor

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// size writes bytes for people.
func size(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		switch {
		case n < u.bytes:
		case n%u.bytes == 0:
			return fmt.Sprintf("%d %s", n/u.bytes, u.name)
		default:
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// age writes how long ago something was: 3d, 5h, 12m, 40s.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds", int(max(d, 0).Seconds()))
}

// olderThan compares versions by their first two numbers; what is none is not older.
func olderThan(version, than string) bool {
	x, okX := majorMinor(version)
	y, okY := majorMinor(than)
	return okX && okY && (x[0] < y[0] || x[0] == y[0] && x[1] < y[1])
}

func majorMinor(version string) (v [2]int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return v, false
	}
	for i := range v {
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

// isLoopback reports whether host never leaves this machine.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
