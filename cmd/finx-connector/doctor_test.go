package main

import (
	"testing"
)

func TestDoctorOfAHealthyInstallation(t *testing.T) {
	in := installed(t)
	d := in.doctor(t, exitOK, "--redirect-uri", "https://app.example/callback")
	t.Log(in.run(t, "doctor").stdout)
	d.only(t)
}
