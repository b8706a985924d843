package natstest_test

import (
	"testing"

	"github.com/tocsin-auth/tocsin/test/machine"
)

func TestMain(m *testing.M) { machine.Exit(m.Run()) }
