exports.handler = async (event, context) => {
  const name = event?.name ?? 'world';
  return { message: `Hello, ${name}!` };
};
