# What measures the platform is no part of it: built for bench/ by `make bench`, never installed.

BENCHES := $(BUILD)/ct-load $(BUILD)/ct-bare
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

$(BUILD)/fuzz/fuzz_answer: fuzz/fuzz_answer.c fuzz/driver.c tools/load/answer.c Makefile
	@mkdir -p $(@D)
	$(or $(FUZZ_CC),$(CC)) -std=gnu11 -g -O1 -Iinclude -Isrc -Itools \
	    -fsanitize=$(if $(FUZZ_CC),fuzzer$(comma))address,undefined -fno-sanitize-recover=all \
	    -o $@ $< tools/load/answer.c $(if $(FUZZ_CC),,fuzz/driver.c)
comma := ,

-include $(LOAD:.o=.d)
