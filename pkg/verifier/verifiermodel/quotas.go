package verifiermodel

import "github.com/tocsin-auth/tocsin/pkg/verifier/internal/quota"

type (
	// Quotas counts what a process spends of its users' quotas.
	Quotas = quota.Meter
	// QuotaQuestion is one that it asks authsvc.
	QuotaQuestion = quota.Question
)

// QuotaSpent is the verdict on a request that has spent one.
const QuotaSpent = quota.Spent

// NewQuotas returns one that counts nothing yet.
func NewQuotas() *Quotas { return quota.NewMeter() }
