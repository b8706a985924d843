// Package config reads authsvc's settings from flags and the environment, checks them before anything starts, and owns
// the data directory's lock.
//
// Every flag has a variable of the same name (--http-addr is TOCSIN_HTTP_ADDR); a flag wins over its variable, and an
// empty variable counts as unset. Secrets have no flag: they come from their variable or from the file that the
// variable with the suffix _FILE names, because command lines are readable by every user of a machine.
package config
