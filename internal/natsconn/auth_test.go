package natsconn

import (
	"testing"

	"github.com/nats-io/nkeys"
)

func TestCredsFileIsTaken(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	path := write(t, "user.creds", "-----BEGIN NATS USER JWT-----\neyJ0eXAiOiJKV1QifQ.e30.c2ln\n------END NATS USER JWT------\n\n"+
		"-----BEGIN USER NKEY SEED-----\n"+string(seed)+"\n------END USER NKEY SEED------\n")
	opts, err := authOptions(Config{CredsFile: path})
	if err != nil || len(opts) != 1 {
		t.Errorf("%d options, %v", len(opts), err)
	}
}
