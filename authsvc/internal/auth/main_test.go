package auth

import (
	"os"
	"testing"

	"github.com/tocsin-auth/tocsin/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
