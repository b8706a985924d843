package faults

var clusterKinds []kind
