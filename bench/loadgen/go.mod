module govgateway/bench/loadgen

go 1.19
