//go:build unix

package main

import (
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/doctor"
)

func port(at syscall.Sockaddr) int {
	if v4, ok := at.(*syscall.SockaddrInet4); ok {
		return v4.Port
	}
	return 0
}

// hole returns an address that takes no connection and refuses none.
func hole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port(at)))
	for range 4 { // its queue is full then
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("this system takes connections that nobody accepts")
	return ""
}

// TestDoctorWithASilentAddress: a server behind a firewall that drops packets must not
// use up the time that is there for the others.
func TestDoctorWithASilentAddress(t *testing.T) {
	in := installed(t)
	in.env["NATS_URL"] = in.srv.URL() + ",nats://" + hole(t)
	in.doctor(t, exitOK, "--timeout", "3s").
		says(t, doctor.Warn, "nats", "addresses", "1 of 2").
		says(t, doctor.OK, "streams", "configuration").only(t, "nats/addresses")
}
