package store

import (
	"fmt"
	"testing"
)

// A release that knows less than its own migrations make would be shut out of a database that it can read.
func TestTheSchemaVersionIsThatOfTheLastMigration(t *testing.T) {
	files, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	var last int
	if _, err := fmt.Sscanf(files[len(files)-1].Name(), "%05d_", &last); err != nil || last != SchemaVersion {
		t.Errorf("the last migration is %s, the version %d: %v", files[len(files)-1].Name(), SchemaVersion, err)
	}
}
