# What measures the platform is no part of it: built for bench/ by `make bench`, never installed.

BENCHES := $(BUILD)/ct-load $(BUILD)/ct-bare $(BUILD)/ct-stream
LOAD := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/load/*.c))
LOAD_TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_load_*.c))

.PHONY: bench
bench: $(BENCHES)

$(BENCHES): $(BUILD)/ct-%: $(BUILD)/tools/%_main.o $(LOAD) $(BUILD)/libct.a
	@echo '  ld $@'
	@$(CC) $(LDFLAGS) -o $@ $^

$(LOAD_TESTS:%=%.o): CFLAGS += -Itools
$(LOAD_TESTS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(LOAD) $(BUILD)/libct.a
	@echo '  ld $@'
	@$(CC) $(LDFLAGS) -o $@ $^

-include $(LOAD:.o=.d)
