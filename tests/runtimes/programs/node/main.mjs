// The situations, for aws-lambda-ric.
if (process.env.BROKEN) throw new TypeError('no such thing at the start');

let calls = 0;

function sink() {
  throw new RangeError('the reason: bad "ß" 💥');
}

export const handler = async (event, context) => {
  calls++;
  switch (event.do) {
    case 'echo':
      return event;
    case 'fail':
      return sink();
    case 'print':
      console.log('out größe');
      console.error('err größe');
      return null;
    case 'flood':
      for (let i = 0; i < 5000; i++) console.log('x'.repeat(99));
      return 'done';
    case 'sleep':
      for (;;);
    case 'exit':
      console.log('bye');
      process.exit(3);
    case 'big':
      return 'x'.repeat(Number(event.text));
    case 'calls':
      return calls;
    case 'context':
      return {
        request_id: context.awsRequestId,
        arn: context.invokedFunctionArn,
        remaining_ms: context.getRemainingTimeInMillis(),
        name: context.functionName,
        version: context.functionVersion,
        memory: Number(context.memoryLimitInMB),
        trace: process.env._X_AMZN_TRACE_ID,
        env: process.env.COLOUR,
      };
  }
};

// A handler of its own, which the command names.
export const streams = globalThis.awslambda?.streamifyResponse(async (event, out) => {
  out.write('one');
  await new Promise((done) => setTimeout(done, 1));
  out.write('drei ü');
  if (event.do === 'midway') throw new RangeError('no more');
  out.end();
});
